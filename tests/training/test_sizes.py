"""Limits of size come from true defects and are kept only where they help whole defects."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from jetspect.errors import InputError
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.reference import find_components
from jetspect.training.sizes import DefectSizes, ObjectCounts, fit_limits, measure_sizes

U8 = npt.NDArray[np.uint8]


def blank(*boxes: tuple[int, int, int, int, int]) -> U8:
    """uint8 120 x 160 with boxes (x, y, w, h, level)."""
    image = np.zeros((120, 160), np.uint8)
    for x, y, w, h, level in boxes:
        image[y : y + h, x : x + w] = level
    return image


def test_sizes_are_those_of_the_true_components_that_are_not_cut_off() -> None:
    truth = blank((10, 10, 6, 4, 1), (40, 40, 10, 20, 1), (150, 50, 10, 10, 1)) > 0
    sizes = measure_sizes([truth, blank() > 0])
    assert (sizes.areas, sizes.widths, sizes.heights) == ((24, 200), (6, 10), (4, 20))
    assert sizes.aspects == (1.5, 2.0)
    assert (sizes.max_areas(), sizes.max_aspects()) == ([None, 400], [None, 4.0])
    assert sizes.min_areas()[:2] == [1, 12]
    edge = measure_sizes([blank((150, 50, 10, 10, 1)) > 0])
    assert edge.areas == (100,), "better a defect that is cut off than none"
    assert measure_sizes([blank() > 0]).min_areas() == [1]
    assert DefectSizes((), (), ()).max_areas() == [None]


def test_f_score_by_hand() -> None:
    """3 of 4 found, 3 of 6 said are right: P 0.5, R 0.75, F1 0.6, F2 = 5 * 0.375 / 2.75."""
    counts = ObjectCounts(4, 3, 6, 3)
    assert (counts.precision, counts.recall) == (0.5, 0.75)
    assert counts.f_score() == pytest.approx(0.6)
    assert counts.f_score(2) == pytest.approx(5 * 0.375 / 2.75)
    assert ObjectCounts(0, 0, 0, 0).f_score() == 1 and ObjectCounts(2, 0, 3, 0).f_score() == 0
    assert math.isnan(ObjectCounts(0, 0, 1, 0).recall)


def test_specks_are_dropped_by_area_where_no_threshold_can_tell_them() -> None:
    scores = [blank((20, 20, 12, 12, 200), (60, 60, 2, 2, 250), (90, 90, 2, 2, 220)) for _ in range(3)]
    truths = [blank((20, 20, 12, 12, 1)) > 0 for _ in range(3)]
    spec, counts = fit_limits(scores, truths, "pit", threshold_low=0.4)
    assert counts == ObjectCounts(3, 3, 3, 3)
    assert 4 < spec.min_area_px <= 72
    assert (spec.max_area_px, spec.max_aspect) == (None, None), "limits that do not help are not set"


def test_long_and_large_false_alarms_need_their_limits() -> None:
    truth = blank((20, 20, 12, 12, 1)) > 0
    long = [blank((20, 20, 12, 12, 200), (5, 100, 150, 2, 240))]
    spec, counts = fit_limits(long, [truth], "pit", threshold_low=0.4)
    assert counts.f_score() == 1 and (spec.max_aspect is not None or spec.max_area_px is not None)
    large = [blank((20, 20, 12, 12, 200), (60, 40, 60, 60, 240))]
    spec, counts = fit_limits(large, [truth], "pit", threshold_low=0.4)
    assert counts.f_score() == 1 and spec.max_area_px == 288


def test_the_threshold_lies_in_the_middle_of_what_is_equally_good() -> None:
    scores = [blank((20, 20, 12, 12, 240), (60, 60, 12, 12, 130)), blank((5, 5, 12, 12, 180))]
    scores += [blank((50, 5, 12, 12, 210))]
    truths = [blank((20, 20, 12, 12, 1)) > 0, blank((5, 5, 12, 12, 1)) > 0, blank((50, 5, 12, 12, 1)) > 0]
    spec, counts = fit_limits(scores, truths, "pit", threshold_low=0.3)
    assert counts.f_score() == 1
    assert spec.threshold * 255 == pytest.approx(155), "half-way between the false alarm and the weakest defect"


def test_a_recall_that_must_be_reached_goes_before_precision() -> None:
    weak = blank((20, 20, 10, 10, 110), *((10 * n, 80, 10, 8, 120) for n in range(0, 16, 2)))
    strong = blank((20, 20, 10, 10, 230))
    truth = blank((20, 20, 10, 10, 1)) > 0
    scores, truths = [weak, strong, strong], [truth] * 3
    plain, counts = fit_limits(scores, truths, "pit", threshold_low=0.3)
    assert counts.recall == pytest.approx(2 / 3) and counts.precision == 1
    strict, counts = fit_limits(scores, truths, "pit", threshold_low=0.3, min_recall=0.95)
    assert counts.recall == 1 and strict.threshold < plain.threshold


def test_what_was_counted_is_what_the_runtime_finds() -> None:
    rng = np.random.default_rng(4)
    scores, truths = [], []
    for _ in range(4):
        field = cv2.GaussianBlur(rng.normal(size=(120, 160)), (0, 0), 3)
        scores.append(np.clip(128 + 700 * field, 0, 255).astype(np.uint8))
        truths.append(cv2.GaussianBlur(field + 0.05 * rng.normal(size=field.shape), (0, 0), 1) > 0.11)
    spec, counts = fit_limits(scores, truths, "pit", threshold_low=0.6)
    found = [c for s in scores for c in find_components(s[None], OutputContract(classes=(spec,)))]
    assert len(found) == counts.said > 0
    unlimited = OutputContract(classes=(ClassSpec(name="pit", threshold=0.6, threshold_low=0.6),))
    assert counts.said < sum(len(find_components(s[None], unlimited)) for s in scores)
    assert counts.true == sum(cv2.connectedComponents(t.astype(np.uint8))[0] - 1 for t in truths)


def test_nothing_to_find_and_nothing_said_is_fine_and_nothing_at_all_is_refused() -> None:
    spec, counts = fit_limits([blank()], [blank() > 0], "pit", threshold_low=0.5)
    assert (counts.true, counts.said, spec.min_area_px) == (0, 0, 1)
    with pytest.raises(InputError, match="limits of pit need scores and masks of the same images, got 0 and 0"):
        fit_limits([], [], "pit", threshold_low=0.5)
