"""Pictures of a calibration show what differs, and crops of every stratum."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from jetspect.calibration.crops import Crop, CropSet
from jetspect.calibration.pictures import FP32, INT8, TRUTH, draw_crops, draw_three, window


def test_three_outlines_are_told_apart_where_the_answers_differ() -> None:
    image = np.full((900, 1200), 90, np.uint8)
    truth, fp32, int8 = (np.zeros_like(image) for _ in range(3))
    truth[400:500, 300:400], fp32[405:495, 305:395], int8[405:450, 305:395] = 1, 2, 1
    picture = draw_three(image, truth, fp32, int8)
    assert picture.shape[1] == 760
    for colour in (TRUTH, FP32, INT8):
        assert np.count_nonzero(np.abs(picture.astype(int) - colour).max(axis=2) < 30) > 100
    nothing = draw_three(image, truth, fp32, fp32)
    assert nothing.shape == (570, 760, 3)


@pytest.mark.parametrize("place", [(0, 0), (899, 1199), (450, 600)])
def test_a_window_lies_inside_the_image_and_holds_what_differs(place: tuple[int, int]) -> None:
    mask = np.zeros((900, 1200), np.bool_)
    mask[place] = True
    top, left, bottom, right = window(mask)
    assert 0 <= top <= place[0] < bottom <= 900 and 0 <= left <= place[1] < right <= 1200
    assert bottom - top >= 150 and right - left >= 240
    assert window(np.zeros((30, 40), np.bool_)) == (0, 0, 30, 40)
    assert window(np.ones((30, 40), np.bool_)) == (0, 0, 30, 40)


@pytest.mark.parametrize("channels", [1, 3])
def test_crops_are_shown_by_stratum_and_not_all(channels: int) -> None:
    tiles = np.random.default_rng(0).integers(0, 255, (8, 64, 64, channels)).astype(np.uint8)
    crops = CropSet(tiles, tuple(Crop(f"image {n}", 0, n, f"stratum {n % 3}") for n in range(8)))
    many = CropSet(np.repeat(crops.tiles, 10, axis=0), tuple(c for c in crops.crops for _ in range(10)))
    shown = draw_crops(many)
    assert len(shown) == 48 and [c.stratum for c in shown] == sorted(c.stratum for c in shown)
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(shown[0].jpeg), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None and picture.shape == (176, 176, 3)
    assert len(draw_crops(crops)) == 8
