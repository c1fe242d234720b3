from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.errors import TrainingError
from jetspect.evaluation.datasets.base import Sample
from jetspect.training.config import AugmentSettings, CropSettings
from jetspect.training.sampling import CropSampler, to_channels

U8 = npt.NDArray[np.uint8]
PLAIN = AugmentSettings(rotate_deg=0, scale=0, stretch=0, gamma=0, contrast=0, brightness=0, tint=0, blur_px=0, noise=0)


class Images:
    name = "images"
    classes = ("spot",)

    def __init__(self, masks: list[U8 | None]) -> None:
        self._masks = masks
        self.ids = [str(n) for n in range(len(masks))]

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), np.full((400, 600, 3), 10 + index, np.uint8), self._masks[index], str(index))


def spot(y: int, x: int) -> U8:
    mask = np.zeros((400, 600), np.uint8)
    mask[y : y + 12, x : x + 12] = 1
    return mask


def sampler(masks: list[U8 | None], share: float, *, steps: int = 40, seed: int = 0) -> CropSampler:
    crops = CropSettings(size_wh=(64, 64), batch=4, defect_share=share)
    return CropSampler(Images(masks), crops, PLAIN, channels=3, steps=steps, seed=seed)


CLEAN = np.zeros((400, 600), np.uint8)
MASKS: list[U8 | None] = [spot(40, 60), spot(370, 580), CLEAN, CLEAN, CLEAN]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_crops_on_defects_is_the_one_asked_for(share: float) -> None:
    batches = sampler(MASKS, share)
    hits = [bool(mask.any()) for step in range(40) for mask in batches[step][1]]
    # A background crop meets one of these small spots by chance in about one case of a hundred.
    assert np.mean(hits) == pytest.approx(share, abs=0.12)


def test_every_image_is_drawn_from() -> None:
    batches = sampler(MASKS, 0.5)
    seen = {int(image[32, 32, 0]) for step in range(40) for image in batches[step][0]}
    assert seen == {10, 11, 12, 13, 14}


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, two, other = sampler(MASKS, 0.5), sampler(MASKS, 0.5), sampler(MASKS, 0.5, seed=1)
    one[0], one[1]  # drawing earlier batches must not matter
    for a, b in zip(one[7], two[7], strict=True):
        assert a.dtype == np.uint8 and np.array_equal(a, b)
    assert one[7][0].shape == (4, 64, 64, 3) and one[7][1].shape == (4, 64, 64)
    assert not np.array_equal(one[7][0], other[7][0])


def test_an_image_smaller_than_the_crop_is_filled_by_reflection() -> None:
    class Small(Images):
        def __getitem__(self, index: int) -> Sample:
            mask = np.zeros((40, 30), np.uint8)
            mask[10:20, 10:20] = 1
            return Sample("0", np.full((40, 30), 77, np.uint8), mask, "0")

    crops = CropSettings(size_wh=(64, 64), batch=2)
    images, _ = CropSampler(Small([None]), crops, PLAIN, channels=3, steps=1, seed=0)[0]
    assert images.shape == (2, 64, 64, 3) and np.all(np.abs(images.astype(int) - 77) <= 1)


def test_images_without_label_are_left_out_and_nothing_to_learn_is_an_error() -> None:
    assert len(sampler([None, spot(5, 5)], 1.0)) == 40
    with pytest.raises(TrainingError, match="no labelled image"):
        sampler([None], 0.5)
    with pytest.raises(TrainingError, match="no image with a defect"):
        sampler([CLEAN], 0.5)


def test_statistics_are_those_of_the_images() -> None:
    mean, std = sampler([spot(5, 5), CLEAN], 0.5).statistics()
    assert mean == (10.5, 10.5, 10.5) and std == (1.0, 1.0, 1.0)  # flat images: the floor of std


def test_channels_are_converted_both_ways() -> None:
    grey, colour = np.full((4, 5), 9, np.uint8), np.full((4, 5, 3), 9, np.uint8)
    assert to_channels(grey, 3).shape == (4, 5, 3) and to_channels(colour, 1).shape == (4, 5)
    assert to_channels(grey, 1) is grey and to_channels(colour, 3) is colour
