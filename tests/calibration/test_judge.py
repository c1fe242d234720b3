"""The judge counts what a person would: pixels, defects, small ones apart, alarms on clean tiles, and how far scores moved."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.calibration.crops import Crop, CropSet, cut_tiles
from jetspect.calibration.judge import Judge, Quality, Tally
from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import Sample
from jetspect.runtime.manifest import ClassSpec, OutputContract

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
OUTPUT = OutputContract(classes=(ClassSpec(name="defect", threshold=0.5, threshold_low=0.5),))
# On 32 x 32 px: a large defect of 64 px and a small one of 4.
LARGE, SMALL = (slice(2, 10), slice(4, 12)), (slice(20, 22), slice(24, 26))


class Two:
    """An image with two defects and a clean one, 32 px high and 40 wide."""

    name, classes, ids = "two", ("defect",), ("bad", "clean")

    def __init__(self, *, labelled: bool = True) -> None:
        self._labelled = labelled

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        mask = np.zeros((32, 40), np.uint8)
        if index == 0:
            mask[LARGE] = mask[SMALL] = 1
        image = np.full((32, 40, 3), 50, np.uint8)
        return Sample(self.ids[index], image, mask if self._labelled else None, "")


def crops(data: Two, tile_px: int = 32) -> CropSet:
    return cut_tiles(data, [Crop("bad", 0, 0, "defect large"), Crop("clean", 0, 0, "clean dark")], tile_px, 3)


def answer(*places: tuple[slice, slice], edge: int = 32, high: float = 0.9, low: float = 0.1) -> F32:
    scores = np.full((1, edge, edge), low, np.float32)
    for place in places:
        scores[0][place] = high
    return scores


def judged(*answers: F32) -> Quality:
    judge, tally = Judge(crops(Two()), Two(), OUTPUT), Tally()
    for index, exact in enumerate((answer(LARGE, SMALL), answer())):
        judge.set_reference(index, exact)
    for index, scores in enumerate(answers):
        judge.add(tally, index, scores)
    return judge.quality(tally)


def test_the_right_answer_loses_nothing() -> None:
    assert judged(answer(LARGE, SMALL), answer()) == Quality(1.0, 1.0, 1.0, 0.0, 0.0)


def test_a_small_defect_that_is_missed_counts_as_a_small_one() -> None:
    got = judged(answer(LARGE), answer())
    assert (got.iou, got.recall, got.small_recall, got.false_tiles) == (64 / 68, 0.5, 0.0, 0.0)
    # 4 of 1024 pixels of one of two tiles went from 230 to 26 of 255 levels.
    assert got.error_levels == pytest.approx((230 - 26) * 4 / 1024 / 2)
    got = judged(answer(SMALL), answer())
    assert (got.recall, got.small_recall) == (0.5, 1.0)


def test_something_found_on_a_clean_tile_is_an_alarm() -> None:
    got = judged(answer(LARGE, SMALL), answer((slice(0, 2), slice(0, 2))))
    assert (got.iou, got.recall, got.false_tiles) == (68 / 72, 1.0, 1.0)
    assert judged(answer(LARGE, SMALL, (slice(28, 32), slice(0, 4))), answer()).false_tiles == 0


def test_scores_are_rounded_and_thresholds_are_those_of_the_bundle() -> None:
    assert judged(answer(LARGE, SMALL, high=0.5), answer()).recall == 1
    assert judged(answer(LARGE, SMALL, high=0.497), answer()).recall == 0
    low = answer(LARGE, SMALL, low=0.1004)  # 25.6 of 255, as 0.1 is 25.5: both are level 26
    assert judged(low, answer()).error_levels == 0


def test_beyond_the_edge_of_an_image_nothing_counts() -> None:
    """A tile of 48 px reaches past the image: there it shows a reflection, which has no label."""
    data = Two()
    judge, tally = Judge(crops(data, 48), data, OUTPUT), Tally()
    for index in range(2):
        judge.set_reference(index, answer(edge=48))
    judge.add(tally, 0, answer(LARGE, SMALL, (slice(32, 48), slice(0, 48)), (slice(0, 48), slice(40, 48)), edge=48))
    judge.add(tally, 1, answer((slice(32, 48), slice(40, 48)), edge=48))
    got = judge.quality(tally)
    assert (got.iou, got.recall, got.false_tiles) == (1.0, 1.0, 0.0)


def test_small_defects_are_those_not_above_the_median() -> None:
    assert Judge(crops(Two()), Two(), OUTPUT).small_px == (64 + 4) / 2
    assert len(Judge(crops(Two()), Two(), OUTPUT)) == 2


def test_reference_answers_come_in_order() -> None:
    judge = Judge(crops(Two()), Two(), OUTPUT)
    with pytest.raises(ValueError, match="expected tile 0, got 1"):
        judge.set_reference(1, answer())


def test_tiles_without_defects_or_labels_cannot_judge() -> None:
    data = Two()
    clean = cut_tiles(data, [Crop("clean", 0, 0, ""), Crop("clean", 0, 4, "")], 32, 3)
    with pytest.raises(DataSetError, match="none of the tiles to judge on shows a defect"):
        Judge(clean, data, OUTPUT)
    with pytest.raises(DataSetError, match="bad has no label; tiles to judge on need one"):
        Judge(crops(data), Two(labelled=False), OUTPUT)


@pytest.mark.parametrize(
    ("other", "lost"),
    [
        (Quality(0.8, 0.9, 0.7, 0.0, 0.0), 0.0),
        (Quality(0.7, 0.9, 0.7, 0.5, 9.0), 0.1),
        (Quality(0.8, 0.8, 0.5, 0.0, 0.0), 0.1 + 0.2),
        # What is won in one does not make good what is lost in another.
        (Quality(0.9, 0.9, 0.5, 0.0, 0.0), 0.2),
        (Quality(1.0, 1.0, 1.0, 0.0, 0.0), 0.0),
    ],
)
def test_what_is_lost_counts_and_what_is_won_does_not(other: Quality, lost: float) -> None:
    assert Quality(0.8, 0.9, 0.7, 0.0, 0.0).lost_by(other) == pytest.approx(lost)
