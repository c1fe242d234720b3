"""Whole defects: which were found, which were said without being there, and how large they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TrueObject:
    """One true defect of one image, as a dot of d-fine's figure 5.

    Attributes
    ----------
    width, height
        Of its box, as shares of the image's width and height.
    area_px
        Its pixels.
    found
        Whether the prediction covers enough of it.
    """

    width: float
    height: float
    area_px: int
    found: bool


@dataclass(frozen=True)
class ObjectMatch:
    """True defects of one image, and how many predicted ones there are and touch a true one."""

    objects: tuple[TrueObject, ...]
    said: int
    right: int


def match_objects(predicted: Mask, truth: Mask, *, least: float = 0.0) -> ObjectMatch:
    """Compare 8-connected components of two masks H x W.

    One predicted component may find several true ones, and several may share one: what counts is whether a person would be
    shown the place.

    Parameters
    ----------
    least
        Share of a true defect's pixels that must be covered for it to be found, 0-1; 0: any pixel.

    Raises
    ------
    InputError
        The masks differ in shape, or ``least`` is no share.
    """
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise InputError(f"prediction is {predicted.shape}, ground truth {truth.shape}; both must be H x W alike")
    if not 0 <= least <= 1:
        raise InputError(f"the share of a defect that must be covered is 0 to 1, got {least}")
    height, width = truth.shape
    count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
    covered = np.bincount(labels[predicted], minlength=count)
    objects = tuple(
        TrueObject(
            width=int(stats[i, cv2.CC_STAT_WIDTH]) / width,
            height=int(stats[i, cv2.CC_STAT_HEIGHT]) / height,
            area_px=int(stats[i, cv2.CC_STAT_AREA]),
            found=bool(covered[i] > 0 and covered[i] >= least * stats[i, cv2.CC_STAT_AREA] - 1e-6),
        )
        for i in range(1, count)
    )
    said, ours = cv2.connectedComponents(predicted.astype(np.uint8), connectivity=8)
    right = np.unique(ours[truth])
    return ObjectMatch(objects, said - 1, int(np.count_nonzero(right)))


def recall_by_size(objects: Sequence[TrueObject], edges_px: Sequence[float]) -> list[tuple[float, float, int, float]]:
    """Return (from, to, number, recall) of the bins between areas in px; the last one has no end. NaN for an empty bin."""
    rows = []
    for low, high in zip(edges_px, [*edges_px[1:], math.inf], strict=True):
        inside = [o.found for o in objects if low <= o.area_px < high]
        rows.append((low, high, len(inside), sum(inside) / len(inside) if inside else math.nan))
    return rows


def size_bins(objects: Sequence[TrueObject], bins: int = 5) -> list[float]:
    """Return lower edges of at most ``bins`` bins of areas in px with about as many defects each; the first is 0."""
    if not objects:
        return [0.0]
    quantiles = np.quantile([o.area_px for o in objects], np.linspace(0, 1, bins + 1)[1:-1])
    return [0.0, *sorted({float(math.ceil(q)) for q in quantiles if q > 0})]
