"""Boundary IoU: how well outlines agree, however large the defect is."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError

Mask = npt.NDArray[np.bool_]
SHARE_OF_DIAGONAL = 0.02


def boundary_distance(height: int, width: int, share: float = SHARE_OF_DIAGONAL) -> int:
    """Return the paper's d in px: 2 % of the image's diagonal, at least 1."""
    return max(1, round(share * math.hypot(height, width)))


def boundary_counts(predicted: Mask, truth: Mask, distance_px: int | None = None) -> tuple[int, int]:
    """Return intersection and union of the two boundary regions in pixels; they add up over images.

    Cheng, Girshick, Dollar, Berg and Kirillov (2021), "Boundary IoU", section 4: the pixels of a mask that lie within d of its
    outline. What lies at the image's edge counts as outline.

    Parameters
    ----------
    distance_px
        d; None takes 2 % of the diagonal.

    Raises
    ------
    InputError
        The masks differ in shape, or d is below 1.
    """
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise InputError(f"prediction is {predicted.shape}, ground truth {truth.shape}; both must be H x W alike")
    d = boundary_distance(*truth.shape) if distance_px is None else distance_px
    if d < 1:
        raise InputError(f"the boundary's width must be at least 1 px, got {d}")
    if not predicted.any() and not truth.any():
        return 0, 0
    ours, theirs = _boundary(predicted, d), _boundary(truth, d)
    return int(np.count_nonzero(ours & theirs)), int(np.count_nonzero(ours | theirs))


def boundary_iou(predicted: Mask, truth: Mask, distance_px: int | None = None) -> float:
    """Return the ratio of :func:`boundary_counts`; NaN where both masks are empty."""
    both, either = boundary_counts(predicted, truth, distance_px)
    return both / either if either else math.nan


def _boundary(mask: Mask, d: int) -> Mask:
    # d erosions by 3 x 3 are one by a row and one by a column; beyond the size of the image nothing changes.
    inner = mask.astype(np.uint8)
    for axis in (0, 1):
        shape = [1, 1]
        shape[axis] = 2 * min(d, mask.shape[axis]) + 1
        inner = np.asarray(
            cv2.erode(inner, np.ones(shape, np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0), np.uint8
        )
    return np.asarray(mask & (inner == 0), np.bool_)
