"""PartsNet's measures of segmentation with several classes (table 1 of the feature refining paper).

They are those of Long, Shelhamer and Darrell (2015), "Fully Convolutional Networks for Semantic Segmentation", section 5;
background is a class.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError

Counts = npt.NDArray[np.int64]


def class_matrix(predicted: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], classes: int) -> Counts:
    """Count pixels of true class i (row) that were called j (column), 0 the background: int64 (K+1) x (K+1).

    Raises
    ------
    InputError
        The masks differ in shape or hold a value above ``classes``.
    """
    if predicted.shape != truth.shape:
        raise InputError(f"prediction is {predicted.shape}, ground truth {truth.shape}; both must have the same shape")
    if max(int(predicted.max(initial=0)), int(truth.max(initial=0))) > classes:
        raise InputError(f"masks hold the value {max(predicted.max(), truth.max())}; there are {classes} classes")
    side = classes + 1
    pairs = truth.astype(np.intp) * side + predicted
    return np.bincount(pairs.ravel(), minlength=side * side).reshape(side, side).astype(np.int64)


def pixel_accuracy(matrix: npt.ArrayLike) -> float:
    """Share of all pixels whose class is right."""
    m = np.asarray(matrix, np.float64)
    return float(np.trace(m) / m.sum()) if m.sum() else math.nan


def mean_accuracy(matrix: npt.ArrayLike) -> float:
    """Mean over the classes that occur of the share of their pixels that are right."""
    m = np.asarray(matrix, np.float64)
    return _mean(np.diag(m), m.sum(axis=1), m.sum(axis=1))


def mean_iu(matrix: npt.ArrayLike) -> float:
    """Mean over the classes that occur of intersection over union."""
    m = np.asarray(matrix, np.float64)
    return _mean(np.diag(m), m.sum(axis=1) + m.sum(axis=0) - np.diag(m), m.sum(axis=1))


def _mean(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64], occurs: npt.NDArray[np.float64]) -> float:
    there = occurs > 0
    return float(np.mean(part[there] / whole[there])) if there.any() else math.nan
