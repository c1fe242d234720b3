from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from jetspect.errors import InputError
from jetspect.evaluation.metrics import Confusion, confusion, mean_defined


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_every_ratio_agrees_with_scikit_learn(seed: int, share_said: float, share_true: float) -> None:
    rng = np.random.default_rng(seed)
    said, truth = rng.random((16, 24)) < share_said, rng.random((16, 24)) < share_true
    ours, p, t = confusion(said, truth), said.ravel(), truth.ravel()
    tn, fp, fn, tp = sklearn_metrics.confusion_matrix(t, p, labels=[False, True]).ravel()
    assert (ours.tn, ours.fp, ours.fn, ours.tp) == (tn, fp, fn, tp)
    pairs = [
        (ours.iou, sklearn_metrics.jaccard_score(t, p, zero_division=0)),
        (ours.precision, sklearn_metrics.precision_score(t, p, zero_division=0)),
        (ours.recall, sklearn_metrics.recall_score(t, p, zero_division=0)),
        (ours.f1, sklearn_metrics.f1_score(t, p, zero_division=0)),
        (ours.fbeta(2), sklearn_metrics.fbeta_score(t, p, beta=2, zero_division=0)),
        (ours.accuracy, sklearn_metrics.accuracy_score(t, p)),
        (ours.fpr, 1 - sklearn_metrics.recall_score(t, p, pos_label=False, zero_division=1)),
        (ours.fnr, 1 - sklearn_metrics.recall_score(t, p, zero_division=1)),
    ]
    for mine, theirs in pairs:
        assert math.isnan(mine) or mine == pytest.approx(theirs)


def test_counts_of_parts_add_up_to_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    said, truth = rng.random((20, 30)) < 0.4, rng.random((20, 30)) < 0.5
    halves = (confusion(said[:7], truth[:7]), confusion(said[7:], truth[7:]))
    assert halves[0] + halves[1] == confusion(said, truth)


def test_a_ratio_without_denominator_is_nan_and_left_out_of_means() -> None:
    empty = np.zeros((4, 4), np.bool_)
    nothing = confusion(empty, empty)
    assert nothing == Confusion(tn=16)
    assert math.isnan(nothing.iou) and math.isnan(nothing.recall) and nothing.fpr == 0
    assert mean_defined([0.25, math.nan, 0.75]) == 0.5
    assert math.isnan(mean_defined([math.nan])) and math.isnan(mean_defined([]))


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"prediction is \(2, 3\), ground truth \(3, 2\)"):
        confusion(np.zeros((2, 3), np.bool_), np.zeros((3, 2), np.bool_))
