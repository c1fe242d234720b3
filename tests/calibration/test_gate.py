"""The gate says in words what a precision loses, and where its best threshold lies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.calibration.gate import Limits, Row, best_level
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.evaluate import evaluate
from jetspect.evaluation.metrics import ScoreHistogram
from jetspect.runtime.results import Prediction

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


class Columns:
    """One image of ten defects, each a column of ten pixels."""

    name, classes, ids = "columns", ("defect",), ("one",)

    def __init__(self, *, defects: bool = True) -> None:
        self.mask = np.zeros((12, 20), np.uint8)
        if defects:
            self.mask[1:11, ::2] = 1

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return Sample("one", np.zeros((12, 20, 3), np.uint8), self.mask, "")


def row(name: str, *, columns: int = 10, pixels: int = 0, data: Columns | None = None) -> Row:
    """What a model reaches that finds some of the columns, less some pixels of the first one."""
    data = data or Columns()
    said = data.mask.copy()
    said[:, 2 * columns :] = 0
    said[1 : 1 + pixels, 0] = 0
    scores = (200 * said)[None].astype(np.uint8)
    result = evaluate(data, lambda _: Prediction(said, scores), ("defect",))
    return Row(name, "engine", result, best_level(result.histogram), None)


def test_what_is_within_the_limits_is_no_fault() -> None:
    fp32 = row("fp32")
    assert Limits().faults(fp32, fp32) == ()
    assert Limits(0.01, 0.0).faults(fp32, row("int8", pixels=1)) == ()  # exactly as much as is allowed
    assert Limits(0.1, 0.1).faults(fp32, row("int8", columns=9)) == ()
    assert Limits(0.0, 0.0).faults(row("fp32", columns=5), fp32) == ()  # better is never a fault


def test_a_fault_says_what_is_lost_from_where_to_where_and_what_is_allowed() -> None:
    fp32 = row("fp32")
    assert Limits(0.005, 0.0).faults(fp32, row("int8", pixels=2)) == (
        "int8 loses 0.0200 of IoU (1.0000 to 0.9800), allowed are 0.005",
    )
    assert Limits(0.5, 0.05).faults(fp32, row("int8-cpu", columns=8)) == (
        "int8-cpu loses 0.2000 of recall of whole defects (1.0000 to 0.8000), allowed are 0.05",
    )
    assert len(Limits().faults(fp32, row("int8", columns=8))) == 2


def test_what_cannot_be_measured_is_no_fault() -> None:
    """Without a defect there is neither IoU nor recall."""
    nothing = row("fp32", data=Columns(defects=False))
    assert nothing.measures["iou"] is None and nothing.measures["object_recall"] is None
    assert Limits().faults(nothing, nothing) == ()
    assert "iou" not in nothing.accuracy and nothing.accuracy["n"] == 1


def test_a_row_tells_its_accuracy_and_recall_by_size() -> None:
    one = row("int8", columns=9)
    assert (one.accuracy["iou"], one.accuracy["object_recall"], one.accuracy["n"]) == (0.9, 0.9, 1)
    assert sum(n for _, _, n, _ in one.recall_by_size()) == 10
    assert 0 < one.best_level <= 200


def by_hand(defect: I64, clean: I64) -> list[float]:
    """IoU at every threshold from 0 on."""
    ious = []
    for level in range(256):
        hit, alarm = defect[level:].sum(), clean[level:].sum()
        union = defect.sum() + alarm
        ious.append(hit / union if union else 0.0)
    return ious


# Few of the 256 levels are filled, all within reach of each other.
counts = st.dictionaries(st.integers(0, 12), st.integers(1, 50), max_size=6).map(
    lambda filled: np.array([filled.get(level, 0) for level in range(256)])
)


@settings(max_examples=40)
@given(counts, counts)
def test_the_best_level_has_the_best_iou_of_all(defect: I64, clean: I64) -> None:
    level = best_level(ScoreHistogram(defect, clean))
    ious = by_hand(defect, clean)
    assert 1 <= level <= 255
    assert ious[level] == pytest.approx(max(ious[1:]))


@pytest.mark.parametrize(
    ("defects", "clean", "level"),
    [
        ({200: 10}, {10: 90}, 11),
        ({200: 10, 40: 10}, {50: 90, 0: 100}, 51),
        ({255: 5}, {254: 100}, 255),
        ({}, {0: 100}, 1),
        ({0: 10}, {0: 10}, 1),
    ],
)
def test_of_equal_levels_the_lowest_is_taken_and_never_zero(
    defects: dict[int, int], clean: dict[int, int], level: int
) -> None:
    histograms = [np.array([part.get(i, 0) for i in range(256)]) for part in (defects, clean)]
    assert best_level(ScoreHistogram(*histograms)) == level
