from __future__ import annotations

import cv2
import numpy as np
import pytest

from jetspect.runtime.checks import CheckSettings, check_frame, sharpness
from jetspect.runtime.sources.synthetic import render_part


@pytest.fixture
def steel() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(120, 20, (600, 800, 3)), 0, 255).astype(np.uint8)


def test_a_normal_frame_has_nothing_to_object_to(steel: np.ndarray) -> None:
    assert check_frame(steel, CheckSettings(size_wh=(800, 600), min_sharpness=1.2)) == ()
    assert check_frame(steel[:, :, 0], CheckSettings()) == ()


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        (lambda i: i // 20, {}, "black"),
        (np.zeros_like, {}, "black"),
        (lambda i: np.full_like(i, 255), {}, "overexposed: 100%"),
        (lambda i: np.full_like(i, 128), {}, "shows nothing"),
        (lambda i: i[:300], {"size_wh": (800, 600)}, "is 800 x 300 px, expected 800 x 600"),
        (lambda i: cv2.GaussianBlur(i, (0, 0), 8), {"min_contrast": 1}, "blurred"),
    ],
)
def test_a_frame_that_cannot_be_judged_is_named(steel: np.ndarray, change, settings: dict, says: str) -> None:
    (reason,) = check_frame(np.ascontiguousarray(change(steel)), CheckSettings(**settings))
    assert says in reason


def test_a_dark_background_around_a_lit_part_is_fine() -> None:
    image = np.full((600, 800), 5, np.uint8)
    image[200:400, 300:500] = np.random.default_rng(0).integers(80, 160, (200, 200), dtype=np.uint8)
    assert check_frame(image, CheckSettings(min_sharpness=1.2)) == ()


def test_sharpness_falls_with_blur(steel: np.ndarray) -> None:
    grey = steel[:, :, 1]
    values = [sharpness(grey), *(sharpness(cv2.GaussianBlur(grey, (0, 0), s)) for s in (1, 2, 4))]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("size", [(16, 16), (17, 130), (16, 5000)])
def test_any_frame_size_is_judged(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    assert check_frame(image, CheckSettings(min_sharpness=1)) == ()


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 3.0])
def test_sensor_noise_does_not_make_a_blurred_part_look_sharp(noise: float) -> None:
    part = render_part(2, (1024, 768), defects=0).image
    rng = np.random.default_rng(0)

    def camera(image: np.ndarray) -> np.ndarray:
        return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)

    assert check_frame(camera(part), CheckSettings()) == ()
    (reason,) = check_frame(camera(cv2.GaussianBlur(part, (0, 0), 5)), CheckSettings())
    assert "blurred" in reason
