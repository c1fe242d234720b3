"""How well scores put what is defective above what is clean, whatever the threshold."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError

F64 = npt.NDArray[np.float64]


def average_precision(truth: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return the area under the precision-recall curve, by steps: sum over steps of (gain of recall) x precision.

    Equal scores are one step. NaN without a positive. Nothing is interpolated (scikit-learn's ``average_precision_score``).

    Parameters
    ----------
    truth, scores, weights
        One value each per image (or pixel); weights count an item several times, as resampling does.
    """
    tp, fp = _counts(truth, scores, weights)
    if not tp.size or tp[-1] <= 0:
        return math.nan
    said = tp + fp
    # What comes before any weight is counted has no precision, and gains no recall either.
    precision = np.divide(tp, said, out=np.zeros_like(tp), where=said > 0)
    return float(np.sum(np.diff(tp, prepend=0.0) * precision) / tp[-1])


def auroc(truth: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Return the chance that a defective item scores higher than a clean one; equal scores count half.

    NaN unless there are both. Fawcett (2006), "An introduction to ROC analysis", section 7.
    """
    tp, fp = _counts(truth, scores, weights)
    if not tp.size or tp[-1] <= 0 or fp[-1] <= 0:
        return math.nan
    rise = np.diff(fp, prepend=0.0)
    height = tp - np.diff(tp, prepend=0.0) / 2
    return float(np.sum(rise * height) / (tp[-1] * fp[-1]))


def pr_curve(truth: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[F64, F64, F64]:
    """Return recall, precision and threshold, from the highest threshold to the lowest."""
    tp, fp = _counts(truth, scores, None)
    positives = tp[-1] if tp.size else 0.0
    return tp / max(positives, 1.0), tp / np.maximum(tp + fp, 1.0), np.unique(np.asarray(scores, np.float64))[::-1]


def roc_curve(truth: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[F64, F64, F64]:
    """Return FPR, TPR and threshold, from the highest threshold to the lowest; the curve begins at 0, 0."""
    tp, fp = _counts(truth, scores, None)
    tpr, fpr = (np.append(0.0, c / max(c[-1] if c.size else 0.0, 1.0)) for c in (tp, fp))
    return fpr, tpr, np.append(math.inf, np.unique(np.asarray(scores, np.float64))[::-1])


def _counts(truth: npt.ArrayLike, scores: npt.ArrayLike, weights: npt.ArrayLike | None) -> tuple[F64, F64]:
    """True and false positives at every distinct score, from the highest to the lowest."""
    is_true, values = np.asarray(truth, np.bool_), np.asarray(scores, np.float64)
    if is_true.ndim != 1 or is_true.shape != values.shape:
        raise InputError(
            f"truth is {is_true.shape}, scores are {values.shape}; both must be one list of the same length"
        )
    if np.isnan(values).any():
        raise InputError("scores hold NaN; a score must be a number")
    weight = np.ones(values.size) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-values, kind="stable")
    is_true, values, weight = is_true[order], values[order], weight[order]
    last = np.append(np.diff(values) != 0, True)[: values.size]  # the end of each run of equal scores
    return np.cumsum(weight * is_true)[last], np.cumsum(weight * ~is_true)[last]
