"""Measures of segmentation, as plain NumPy functions of counts.

A ratio without a denominator is NaN and is left out of means.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Confusion:
    """Pixel counts of one binary comparison; they add up."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def iou(self) -> float:
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def dice(self) -> float:
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; over pixels the same number as Dice."""
        return self.dice

    @property
    def fpr(self) -> float:
        """Share of clean pixels that are called defective."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def fnr(self) -> float:
        """Share of defective pixels that are missed."""
        return _ratio(self.fn, self.fn + self.tp)


def confusion(predicted: Mask, truth: Mask) -> Confusion:
    """Compare two boolean masks of the same shape. Raises InputError where the shapes differ."""
    if predicted.shape != truth.shape:
        raise InputError(f"prediction is {predicted.shape}, ground truth {truth.shape}; both must have the same shape")
    both = int(np.count_nonzero(predicted & truth))
    said, there = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    return Confusion(both, said - both, there - both, predicted.size - said - there + both)


def average_precision(truth: Mask, scores: npt.NDArray[np.float64]) -> float:
    """Return the area under the precision-recall curve, by steps; equal scores are one step. NaN without a positive."""
    order = np.argsort(-scores, kind="stable")
    truth, scores = truth[order], scores[order]
    last = np.append(np.diff(scores) != 0, True)  # the end of each run of equal scores
    tp = np.cumsum(truth)[last]
    if not tp[-1]:
        return math.nan
    precision = tp / (np.flatnonzero(last) + 1)
    return float(np.sum(np.diff(tp, prepend=0) * precision) / tp[-1])


def mean_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN where none is."""
    defined = [v for v in values if not math.isnan(v)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
