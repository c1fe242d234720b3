"""Defects found and missed, by hand-drawn cases and against scipy's labelling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from jetspect.errors import InputError
from jetspect.evaluation.metrics import TrueObject, match_objects, recall_by_size, size_bins


def test_a_drawn_case() -> None:
    truth, said = np.zeros((20, 40), np.bool_), np.zeros((20, 40), np.bool_)
    truth[2:6, 2:10] = True  # touched in one pixel
    said[5:8, 9:12] = True
    truth[10:14, 20:22] = True  # missed
    truth[0, 30:40] = True  # found twice
    said[0, 30:32] = said[0, 38] = True
    said[18, 0] = True  # nothing there
    match = match_objects(said, truth)
    assert [(o.area_px, o.found) for o in match.objects] == [(10, True), (32, True), (8, False)]
    assert (match.objects[1].width, match.objects[1].height) == (8 / 40, 4 / 20)
    assert (match.said, match.right) == (4, 3)
    strict = match_objects(said, truth, least=0.25)
    assert [o.found for o in strict.objects] == [True, False, False]


def test_diagonal_neighbours_are_one_defect() -> None:
    mask = np.eye(6, dtype=np.bool_)
    assert [o.area_px for o in match_objects(mask, mask).objects] == [6]


@pytest.mark.parametrize("seed", range(3))
def test_found_and_right_are_counted_as_scipy_s_labels_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = (ndimage.gaussian_filter(rng.random((60, 70)), 2) > 0.54 for _ in range(2))
    match = match_objects(said, truth)
    ours, n = ndimage.label(truth, np.ones((3, 3)))
    theirs, m = ndimage.label(said, np.ones((3, 3)))
    assert sum(o.found for o in match.objects) == len(set(ours[said]) - {0}) and len(match.objects) == n
    assert (match.said, match.right) == (m, len(set(theirs[truth]) - {0}))


def test_nothing_true_or_nothing_said() -> None:
    nothing, some = np.zeros((5, 5), np.bool_), np.ones((5, 5), np.bool_)
    assert (match_objects(some, nothing).objects, match_objects(some, nothing).right) == ((), 0)
    assert [o.found for o in match_objects(nothing, some).objects] == [False]


def test_recall_by_size() -> None:
    objects = [TrueObject(0.1, 0.1, area, found) for area, found in ((1, False), (3, True), (4, False), (90, True))]
    rows = recall_by_size(objects, [0, 4, 50, 1000])
    assert [row[:3] for row in rows] == [(0, 4, 2), (4, 50, 1), (50, 1000, 1), (1000, math.inf, 0)]
    assert [row[3] for row in rows[:3]] == [0.5, 0, 1] and math.isnan(rows[3][3])


def test_bins_hold_about_as_many_defects_each() -> None:
    objects = [TrueObject(0.1, 0.1, area, True) for area in range(1, 101)]
    rows = recall_by_size(objects, size_bins(objects, 4))
    assert sum(row[2] for row in rows) == 100 and all(20 <= row[2] <= 30 for row in rows)
    assert size_bins([]) == [0.0]
    assert size_bins([objects[0]] * 9) == [0.0, 1.0]


def test_bad_input_is_refused() -> None:
    mask = np.zeros((4, 4), np.bool_)
    with pytest.raises(InputError, match=r"is 0 to 1, got 1\.5"):
        match_objects(mask, mask, least=1.5)
    with pytest.raises(InputError, match=r"\(4, 4\), ground truth \(2, 4\)"):
        match_objects(mask, mask[:2])
