from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from labelled import Images

from jetspect.errors import TrainingError
from jetspect.training.config import SupervisionSettings
from jetspect.training.images import IGNORED, LabelledImages, dilate, load_images, to_channels

U8 = npt.NDArray[np.uint8]


def spot() -> U8:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:14, 20:24] = 1
    return mask


CLEAN = np.zeros((40, 60), np.uint8)


def test_images_without_label_are_left_out_and_nothing_to_learn_is_an_error() -> None:
    assert len(load_images(Images([None, spot()]), channels=3)) == 1
    with pytest.raises(TrainingError, match="no labelled image"):
        load_images(Images([None]), channels=3)
    with pytest.raises(TrainingError, match=r"no image with a defect: all \d masks are empty"):
        load_images(Images([CLEAN]), channels=3)
    with pytest.raises(TrainingError, match="no image with a defect"):
        load_images(Images([np.full((40, 60), IGNORED, np.uint8)]), channels=3)


def test_statistics_are_those_of_the_images() -> None:
    mean, std = load_images(Images([spot(), CLEAN]), channels=3).statistics()
    assert mean == (10.5, 10.5, 10.5) and std == (1.0, 1.0, 1.0)  # flat images: the floor of std


def supervised(level: str, share: float = 0.3, seed: int = 0) -> LabelledImages:
    masks: list[U8 | None] = [spot() for _ in range(10)] + [CLEAN] * 5
    settings = SupervisionSettings(level=level, share=share)  # type: ignore[arg-type]
    return load_images(Images(masks), channels=1, seed=seed, supervision=settings)


def test_supervision_says_which_masks_are_seen() -> None:
    assert all(supervised("full").seen)
    assert not any(supervised("weak").seen)
    mixed = supervised("mixed")
    assert sum(mixed.seen[:10]) == 3 and all(mixed.seen[10:])
    assert mixed.seen == supervised("mixed").seen
    assert len({supervised("mixed", seed=seed).seen for seed in range(5)}) > 1
    assert sum(supervised("mixed", share=0.01).seen[:10]) == 1
    with pytest.raises(TrainingError, match="use full, mixed or weak"):
        supervised("none")


def test_labels_grow_by_the_radius_and_stop_at_other_classes() -> None:
    mask = spot()
    mask[10:14, 26:30] = 2
    grown = dilate(mask, 2)
    assert np.array_equal(grown[mask > 0], mask[mask > 0])
    assert grown[8, 21] == 1 and grown[7, 21] == 0 and grown[12, 18] == 1 and grown[12, 17] == 0
    assert grown[12, 24:26].tolist() == [1, 1] and grown[12, 30:32].tolist() == [2, 2]
    assert (grown == 2).any() and dilate(mask, 0) is mask and dilate(CLEAN, 3) is CLEAN


def test_channels_are_converted_both_ways() -> None:
    grey, colour = np.full((4, 5), 9, np.uint8), np.full((4, 5, 3), 9, np.uint8)
    assert to_channels(grey, 3).shape == (4, 5, 3) and to_channels(colour, 1).shape == (4, 5)
    assert to_channels(grey, 1) is grey and to_channels(colour, 3) is colour
