"""How sharp and how well exposed an image is, for whoever turns the lens."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
BLACK = 5
SATURATED = 250
_NOISE_PX = 1.0


@dataclass(frozen=True, eq=False)
class Look:
    """One image in numbers.

    Attributes
    ----------
    focus
        See :func:`focus_of`.
    black, saturated
        Share of pixels at or below 5, and at or above 250.
    histogram
        256 counts.
    """

    focus: float
    mean: float
    black: float
    saturated: float
    histogram: npt.NDArray[np.int64]


def look_at(image: U8, roi_xyxy: tuple[int, int, int, int] | None = None) -> Look:
    """Measure an image, uint8 H x W x 3 (BGR, by its green channel) or H x W, or a part of it."""
    grey = image if image.ndim == 2 else image[:, :, 1]
    if roi_xyxy is not None:
        left, top, right, bottom = roi_xyxy
        grey = grey[top:bottom, left:right]
    grey = np.ascontiguousarray(grey)
    histogram = np.rint(cv2.calcHist([grey], [0], None, [256], [0, 256])).astype(np.int64).ravel()
    mean = float(histogram @ np.arange(256) / grey.size)
    return Look(
        focus=focus_of(grey),
        mean=mean,
        black=float(histogram[: BLACK + 1].sum() / grey.size),
        saturated=float(histogram[SATURATED:].sum() / grey.size),
        histogram=histogram,
    )


def focus_of(grey: U8) -> float:
    """Return how sharp an image is: Tenengrad (Krotkov 1988), the mean squared slope of its grey levels, per mean squared.

    Divided by the square of the mean so that a longer exposure does not look sharper, times 1000. Smoothed first, so that
    noise counts little. Only comparable for one scene: more edges give a higher number.
    """
    smooth = cv2.GaussianBlur(grey, (0, 0), _NOISE_PX)
    squared = 0.0
    for dx, dy in ((1, 0), (0, 1)):
        slope = cv2.Sobel(smooth, cv2.CV_16S, dx, dy, ksize=3)
        squared += float(cv2.norm(slope, cv2.NORM_L2SQR)) / 64  # Sobel's weights add up to 8
    mean = float(cv2.mean(grey)[0])
    return 0.0 if mean == 0 else 1000 * squared / grey.size / (mean * mean)
