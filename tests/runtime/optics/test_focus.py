from __future__ import annotations

import cv2
import numpy as np
import pytest

from jetspect.runtime.optics.focus import look_at
from jetspect.runtime.sources.synthetic import render_part


@pytest.fixture(scope="module")
def part() -> np.ndarray:
    return render_part(100, (400, 300), texture="brushed", defects=3).image


def test_focus_falls_with_blur_and_not_with_exposure(part: np.ndarray) -> None:
    sharp = look_at(part).focus
    values = [look_at(cv2.GaussianBlur(part, (0, 0), s)).focus for s in (1, 2, 4)]
    assert sharp > values[0] > values[1] > values[2] > 0
    darker = look_at((part * 0.6).astype(np.uint8)).focus
    assert darker == pytest.approx(sharp, rel=0.1)


def test_focus_of_a_region_is_that_of_its_pixels(part: np.ndarray) -> None:
    assert look_at(part, (50, 40, 250, 200)).focus == look_at(np.ascontiguousarray(part[40:200, 50:250])).focus


def test_black_and_saturated_pixels_are_counted() -> None:
    image = np.full((100, 100, 3), 128, np.uint8)
    image[:25] = 5
    image[90:] = 250
    look = look_at(image)
    assert (look.black, look.saturated) == (0.25, 0.1)
    assert look.histogram.sum() == 10_000
    assert look.mean == pytest.approx(0.25 * 5 + 0.65 * 128 + 0.1 * 250)


def test_a_black_image_has_no_focus() -> None:
    assert look_at(np.zeros((16, 16), np.uint8)).focus == 0.0
