from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from labelled import Images

from jetspect.evaluation.datasets.base import Sample
from jetspect.training.config import AugmentSettings, CropSettings
from jetspect.training.focal import FocalSettings
from jetspect.training.images import IGNORED, LabelledImages, load_images
from jetspect.training.sampling import CropSampler, WholeSampler, resize_pair
from jetspect.training.transfer import TransferSettings

U8 = npt.NDArray[np.uint8]
PLAIN = AugmentSettings(rotate_deg=0, scale=0, stretch=0, gamma=0, contrast=0, brightness=0, tint=0, blur_px=0, noise=0)
STILL = PLAIN.model_copy(update={"flip_x": False, "flip_y": False})


def spot(y: int, x: int) -> U8:
    mask = np.zeros((400, 600), np.uint8)
    mask[y : y + 12, x : x + 12] = 1
    return mask


def sampler(masks: list[U8 | None], share: float, *, steps: int = 40, seed: int = 0) -> CropSampler:
    crops = CropSettings(size_wh=(64, 64), batch=4, defect_share=share)
    return CropSampler(load_images(Images(masks, (400, 600)), channels=3), crops, PLAIN, steps=steps, seed=seed)


CLEAN = np.zeros((400, 600), np.uint8)
MASKS: list[U8 | None] = [spot(40, 60), spot(370, 580), CLEAN, CLEAN, CLEAN]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_share_of_crops_on_defects_is_the_one_asked_for(share: float) -> None:
    batches = sampler(MASKS, share)
    hits = [bool(mask.any()) for step in range(40) for mask in batches[step].masks]
    # A background crop meets one of these small spots by chance in about one case of a hundred.
    assert np.mean(hits) == pytest.approx(share, abs=0.12)


def test_every_image_is_drawn_from() -> None:
    batches = sampler(MASKS, 0.5)
    seen = {int(image[32, 32, 0]) for step in range(40) for image in batches[step].images}
    assert seen == {10, 11, 12, 13, 14}


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    one, two, other = sampler(MASKS, 0.5), sampler(MASKS, 0.5), sampler(MASKS, 0.5, seed=1)
    one[0], one[1]  # drawing earlier batches must not matter
    for a, b in zip(one[7], two[7], strict=True):
        assert np.array_equal(a, b)
    assert one[7].images.shape == (4, 64, 64, 3) and one[7].masks.shape == (4, 64, 64)
    assert one[7].images.dtype == one[7].masks.dtype == np.uint8
    assert not np.array_equal(one[7].images, other[7].images)


def test_an_image_smaller_than_the_crop_is_filled_by_reflection() -> None:
    class Small(Images):
        def __getitem__(self, index: int) -> Sample:
            mask = np.zeros((40, 30), np.uint8)
            mask[10:20, 10:20] = 1
            return Sample("0", np.full((40, 30), 77, np.uint8), mask, "0")

    crops = CropSettings(size_wh=(64, 64), batch=2)
    images = CropSampler(load_images(Small([None]), channels=3), crops, PLAIN, steps=1, seed=0)[0].images
    assert images.shape == (2, 64, 64, 3) and np.all(np.abs(images.astype(int) - 77) <= 1)


class Sizes(Images):
    """The first image is ten times as large as the second."""

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        assert sample.mask is not None
        cut = 40 if index else 400
        return Sample(sample.sample_id, sample.image[:cut], sample.mask[:cut], sample.group)


def share_of_the_large_one(first: U8, crops: CropSettings) -> float:
    batches = CropSampler(load_images(Sizes([first, spot(4, 4)]), channels=3), crops, PLAIN, steps=60, seed=0)
    return float(np.mean([image[32, 32, 0] == 10 for step in range(60) for image in batches[step].images]))


def test_larger_images_give_more_background() -> None:
    crops = CropSettings(size_wh=(64, 64), batch=8, defect_share=0.0)
    assert share_of_the_large_one(CLEAN, crops) == pytest.approx(10 / 11, abs=0.05)


@pytest.mark.parametrize(("power", "share"), [(0.0, 1 / 2), (0.5, 10**0.5 / (10**0.5 + 1)), (1.0, 10 / 11)])
def test_defects_of_larger_images_come_as_often_as_asked_for(power: float, share: float) -> None:
    crops = CropSettings(size_wh=(64, 64), batch=8, defect_share=1.0, area_power=power)
    assert share_of_the_large_one(spot(200, 300), crops) == pytest.approx(share, abs=0.06)


def test_a_defect_between_the_grid_points_is_found_too() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[201, 301] = 1
    batches = sampler([mask, CLEAN], 1.0)
    assert all(batches[step].defective.all() for step in range(10))


def parted(hide: bool) -> LabelledImages:
    """Two images whose part is the left half; the first has a dark defect there."""

    class Parts(Images):
        def part_mask(self, index: int) -> U8:
            part = np.zeros((400, 600), np.uint8)
            part[:, :300] = 1
            return part

        def __getitem__(self, index: int) -> Sample:
            sample = super().__getitem__(index)
            image = np.full((400, 600, 3), 100, np.uint8)
            image[sample.mask > 0] = 10  # type: ignore[operator]
            return Sample(sample.sample_id, image, sample.mask, sample.group)

    return load_images(Parts([spot(40, 60), CLEAN]), channels=3, with_parts=True, hide_background=hide)


@pytest.mark.parametrize("hide", [False, True])
def test_defects_are_transferred_into_the_parts_of_other_images(hide: bool) -> None:
    transfer = TransferSettings(probability=1, most=1, poisson=0, flip=False, rotate_deg=0, scale=(1, 1))
    crops = CropSettings(size_wh=(600, 400), batch=8, defect_share=0)
    batches = CropSampler(parted(hide), crops, STILL, steps=2, seed=0, transfer=transfer)
    with_defect = 0
    for step in range(2):
        assert batches[step].weights.size == 0
        for image, mask in zip(batches[step].images, batches[step].masks, strict=True):
            assert not (image[mask == 1] > 60).any() and bool((mask == IGNORED).any()) is hide
            with_defect += bool((mask == 1).any())
    # The crop may leave one near the edge of the image outside.
    assert with_defect >= 13


def test_the_background_is_hidden_and_weighs_nothing() -> None:
    crops = CropSettings(size_wh=(64, 64), batch=8, defect_share=0.5)
    batch = CropSampler(parted(True), crops, PLAIN, steps=1, seed=0, focal=FocalSettings())[0]
    assert batch.weights.shape == batch.masks.shape
    assert not batch.weights[batch.masks == IGNORED].any() and batch.weights[batch.masks != IGNORED].min() == 1
    assert batch.weights[batch.masks == 1].max() > 1


def whole(masks: list[U8 | None], batch: int = 2, **changes: object) -> WholeSampler:
    crops = CropSettings(size_wh=(96, 64), batch=batch, whole=True)
    return WholeSampler(load_images(Images(masks, (400, 600)), channels=3, **changes), crops, STILL, steps=40, seed=0)  # type: ignore[arg-type]


def test_whole_images_come_defective_and_clean_in_turn_each_once_before_any_again() -> None:
    batches = whole([spot(40, 60), spot(370, 580), CLEAN, CLEAN, CLEAN])
    greys = [int(image[5, 5, 0]) for step in range(6) for image in batches[step].images]
    assert [g in (10, 11) for g in greys] == [True, False] * 6
    assert sorted(greys[0:4:2]) == sorted(greys[4:8:2]) == [10, 11]
    assert sorted(greys[1:7:2]) == sorted(greys[7:12:2]) == [12, 13, 14]
    batch = batches[3]
    assert batch.images.shape == (2, 64, 96, 3) and batch.masks.shape == (2, 64, 96)
    assert batch.defective.tolist() == [True, False] == [bool(m.any()) for m in batch.masks]
    assert batch.seen.tolist() == [True, True]


def test_a_set_without_clean_images_is_drawn_from_all_the_same() -> None:
    assert all(whole([spot(40, 60), spot(90, 60)])[step].defective.all() for step in range(4))


def test_a_hair_line_survives_the_resizing() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[200, 100:300] = 1
    image, small = resize_pair(np.zeros((400, 600, 3), np.uint8), mask, (60, 40))
    assert image.shape == (40, 60, 3) and small.shape == (40, 60)
    assert small[20, 10:30].all() and small.sum() == 20


def test_where_classes_meet_in_a_resized_pixel_the_larger_share_wins() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 0], mask[:, 1:4] = 1, 2
    _, small = resize_pair(np.zeros((8, 8), np.uint8), mask, (2, 2))
    assert small.tolist() == [[2, 0], [2, 0]]
    _, large = resize_pair(np.zeros((8, 8), np.uint8), mask, (16, 16))
    assert large[:, :2].tolist() == [[1, 1]] * 16 and not large[:, 9:].any()
