from __future__ import annotations

import numpy as np
import pytest

from jetspect.training.augment import change_look, warp_crop
from jetspect.training.config import AugmentSettings

STILL = AugmentSettings(flip_x=False, flip_y=False, rotate_deg=0, scale=0, stretch=0)
STRONG = AugmentSettings(quarter_turns=True, rotate_deg=40, scale=0.5, stretch=0.3)
SILENT = AugmentSettings(gamma=0, contrast=0, brightness=0, tint=0, blur_px=0, noise=0)


def test_without_strength_a_crop_is_a_plain_cut() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    mask = (image[:, :, 0] > 200).astype(np.uint8)
    crop, label = warp_crop(image, mask, (40, 30), (32, 20), STILL, np.random.default_rng(1))
    assert np.array_equal(crop, image[20:40, 24:56]) and np.array_equal(label, mask[20:40, 24:56])


@pytest.mark.parametrize("seed", range(12))
def test_image_and_mask_stay_aligned_under_strong_geometry(seed: int) -> None:
    """The image is drawn from the mask, so the mask must be found again where the crop is bright."""
    mask = np.zeros((200, 260), np.uint8)
    mask[70:120, 100:180] = 1
    crop, label = warp_crop(mask * np.uint8(255), mask, (140, 95), (128, 96), STRONG, np.random.default_rng(seed))
    bright = crop > 127
    assert bright.any() and not bright.all()
    # Linear and nearest sampling differ on the outline only.
    assert np.count_nonzero(bright != (label > 0)) <= 0.05 * np.count_nonzero(label) + 20


def test_class_values_are_never_mixed() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[20:50, 20:80], mask[50:80, 20:80] = 1, 4
    for seed in range(8):
        _, label = warp_crop(mask, mask, (50, 50), (64, 64), STRONG, np.random.default_rng(seed))
        assert set(np.unique(label)) <= {0, 1, 4}


def test_flips_and_turns_are_used() -> None:
    """From one corner mark all four corners are reached."""
    settings = AugmentSettings(rotate_deg=0, scale=0, stretch=0)
    mask = np.zeros((40, 40), np.uint8)
    mask[5:10, 5:10] = 1
    seen = set()
    for seed in range(40):
        _, label = warp_crop(mask, mask, (20, 20), (40, 40), settings, np.random.default_rng(seed))
        y, x = np.argwhere(label).mean(axis=0)
        seen.add((y > 20, x > 20))
    assert len(seen) == 4


def test_looks_without_strength_change_nothing_and_with_it_stay_uint8() -> None:
    image = np.random.default_rng(3).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    for seed in range(10):
        assert np.abs(change_look(image, SILENT, np.random.default_rng(seed)).astype(int) - image).max() <= 1
    changed = [change_look(image, AugmentSettings(), np.random.default_rng(seed)) for seed in range(10)]
    assert all(c.dtype == np.uint8 and c.shape == image.shape for c in changed)
    assert sum(not np.array_equal(c, image) for c in changed) >= 7


def test_grey_images_are_changed_too() -> None:
    image = np.full((16, 16), 100, np.uint8)
    assert change_look(image, AugmentSettings(), np.random.default_rng(0)).shape == (16, 16)
