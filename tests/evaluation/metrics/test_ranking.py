"""Ranking measures against scikit-learn, with ties, weights and cases that have no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from jetspect.errors import InputError
from jetspect.evaluation.metrics import ScoreHistogram, auroc, average_precision, pr_curve, roc_curve


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([2, 5, 1000]))
def test_ap_and_auroc_are_scikit_learn_s_with_few_and_many_distinct_scores(seed: int, size: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    truth, scores = rng.random(size) < 0.4, rng.integers(0, levels, size) / levels
    truth[:2] = True, False
    weights = rng.integers(0, 3, size).astype(float)
    weights[:2] = 1
    for w in (None, weights):
        assert average_precision(truth, scores, w) == pytest.approx(
            sklearn_metrics.average_precision_score(truth, scores, sample_weight=w)
        )
        assert auroc(truth, scores, w) == pytest.approx(sklearn_metrics.roc_auc_score(truth, scores, sample_weight=w))


def test_curves_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(3)
    truth, scores = rng.random(80) < 0.3, rng.integers(0, 12, 80) / 12
    recall, precision, thresholds = pr_curve(truth, scores)
    p, r, t = sklearn_metrics.precision_recall_curve(truth, scores)
    assert (
        np.allclose(precision[::-1], p[:-1]) and np.allclose(recall[::-1], r[:-1]) and np.allclose(thresholds[::-1], t)
    )
    fpr, tpr, thresholds = roc_curve(truth, scores)
    x, y, t = sklearn_metrics.roc_curve(truth, scores, drop_intermediate=False)
    assert np.allclose(fpr, x) and np.allclose(tpr, y) and np.allclose(thresholds, t)


def test_perfect_worst_and_blind_rankings() -> None:
    truth = [True, True, False, False]
    assert (average_precision(truth, [4, 3, 2, 1]), auroc(truth, [4, 3, 2, 1])) == (1, 1)
    assert auroc(truth, [1, 2, 3, 4]) == 0
    assert (average_precision(truth, [5] * 4), auroc(truth, [5] * 4)) == (0.5, 0.5)


@pytest.mark.parametrize("truth", [[], [False, False], [True, True]])
def test_what_cannot_be_ranked_is_nan(truth: list[bool]) -> None:
    scores = np.arange(len(truth))
    assert math.isnan(auroc(truth, scores))
    assert math.isnan(average_precision(truth, scores)) is (not any(truth))


def test_bad_scores_are_refused() -> None:
    with pytest.raises(InputError, match=r"truth is \(2,\), scores are \(3,\)"):
        auroc([True, False], [1, 2, 3])
    with pytest.raises(InputError, match="scores hold NaN"):
        average_precision([True, False], [1, math.nan])


@given(st.integers(0, 2**32 - 1))
def test_histograms_give_the_measures_of_every_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 256, (2, 12, 20)).astype(np.uint8)
    truth = rng.random((2, 12, 20)) < 0.2
    truth[0, 0, :2] = True, False
    whole = ScoreHistogram.of(scores[0], truth[0]) + ScoreHistogram.of(scores[1], truth[1])
    t, s = truth.ravel(), scores.ravel()
    assert whole.average_precision == pytest.approx(sklearn_metrics.average_precision_score(t, s))
    assert whole.auroc == pytest.approx(sklearn_metrics.roc_auc_score(t, s))
    recall, precision, fpr = whole.curves()
    at = 255 - 100
    said = s >= 100
    assert recall[at] == pytest.approx(said[t].mean()) and fpr[at] == pytest.approx(said[~t].mean())
    assert precision[at] == pytest.approx(t[said].mean())
    assert recall.shape == precision.shape == fpr.shape == (256,)


def test_a_histogram_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"scores are \(2, 2\), ground truth \(2, 3\)"):
        ScoreHistogram.of(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.bool_))
