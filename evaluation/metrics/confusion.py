"""Counts of one binary comparison, over pixels or images, and the ratios made of them.

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
    """Counts of one binary comparison (pixels, images or objects); they add up. Resampled ones need not be whole."""

    tp: float = 0
    fp: float = 0
    fn: float = 0
    tn: float = 0

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

    def fbeta(self, beta: float) -> float:
        """Weighted harmonic mean of precision and recall: recall counts ``beta`` times as much (van Rijsbergen, 1979)."""
        weight = beta * beta
        return _ratio((1 + weight) * self.tp, (1 + weight) * self.tp + weight * self.fn + self.fp)

    @property
    def accuracy(self) -> float:
        """Share that is called right, clean or defective.

        The review of the project's five papers warns of it: where defects are rare, a model that never finds one is nearly
        always right. Look at FNR and FPR beside it.
        """
        return _ratio(self.tp + self.tn, self.tp + self.tn + self.fp + self.fn)

    @property
    def fpr(self) -> float:
        """Share of what is clean that is called defective."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def fnr(self) -> float:
        """Share of what is defective that is missed."""
        return _ratio(self.fn, self.fn + self.tp)


def confusion(predicted: Mask, truth: Mask) -> Confusion:
    """Compare two boolean masks of the same shape. Raises InputError where the shapes differ."""
    if predicted.shape != truth.shape:
        raise InputError(f"prediction is {predicted.shape}, ground truth {truth.shape}; both must have the same shape")
    both = int(np.count_nonzero(predicted & truth))
    said, there = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    return Confusion(both, said - both, there - both, predicted.size - said - there + both)


def mean_defined(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN where none is."""
    defined = [v for v in values if not math.isnan(v)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else math.nan
