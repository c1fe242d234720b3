"""What is known about the size of defects, as limits that post-processing keeps to.

d-fine (Sheet Metal 2023) removes what no defect looks like, by size, together with a probability threshold, and fits both on
validation data. Here the true components give the sizes that occur; which limits near them are worth setting is decided by
counting whole defects: found or missed, right or wrong.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.reference import find_components

U8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
_QUANTILES = (0.0, 0.02, 0.05, 0.1)  # of the true areas; never more than a tenth of the known sizes is in danger
_MARGIN = 2.0
_LEVELS = 64  # high thresholds tried at most


@dataclass(frozen=True)
class DefectSizes:
    """Areas in px, widths and heights of boxes in px, of the true components of one class."""

    areas: tuple[int, ...]
    widths: tuple[int, ...]
    heights: tuple[int, ...]

    @property
    def aspects(self) -> tuple[float, ...]:
        """Longer side / shorter side of every box."""
        return tuple(max(w, h) / min(w, h) for w, h in zip(self.widths, self.heights, strict=True))

    def min_areas(self) -> list[int]:
        """Smallest areas worth trying: none, and quantiles of the true areas with a margin of two."""
        quantiles: list[float] = np.quantile(self.areas, _QUANTILES).tolist() if self.areas else []
        return sorted({1, *(max(1, math.floor(q / _MARGIN)) for q in quantiles)})

    def max_areas(self) -> list[int | None]:
        """None, and twice the largest true area."""
        return [None, math.ceil(max(self.areas) * _MARGIN)] if self.areas else [None]

    def max_aspects(self) -> list[float | None]:
        """None, and twice the largest true aspect."""
        return [None, round(max(self.aspects) * _MARGIN, 2)] if self.areas else [None]


@dataclass(frozen=True)
class ObjectCounts:
    """Defects of one class over all images: how many there are and were found, how many were said and are right."""

    true: int
    found: int
    said: int
    right: int

    @property
    def recall(self) -> float:
        return self.found / self.true if self.true else math.nan

    @property
    def precision(self) -> float:
        return self.right / self.said if self.said else math.nan

    def f_score(self, beta: float = 1.0) -> float:
        """F-score; 1 where there is nothing to find and nothing was said, 0 where nothing fits."""
        if not self.true and not self.said:
            return 1.0
        if not self.found or not self.right:
            return 0.0
        b2 = beta * beta
        return (1 + b2) * self.precision * self.recall / (b2 * self.precision + self.recall)


def measure_sizes(truths: Sequence[Mask]) -> DefectSizes:
    """Measure the components of true masks, bool H x W; those cut off by the image's edge are left out, if others are there."""
    rows: list[tuple[int, int, int, bool]] = []
    for truth in truths:
        _, _, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8), connectivity=8)
        for x, y, w, h, area in stats[1:].tolist():
            cut = x == 0 or y == 0 or x + w == truth.shape[1] or y + h == truth.shape[0]
            rows.append((area, w, h, cut))
    whole = [row for row in rows if not row[3]] or rows
    areas, widths, heights = (tuple(int(row[i]) for row in whole) for i in range(3))
    return DefectSizes(areas, widths, heights)


def fit_limits(
    scores: Sequence[U8],
    truths: Sequence[Mask],
    name: str,
    *,
    threshold_low: float,
    min_recall: float | None = None,
    beta: float = 1.0,
    overlap: float = 0.1,
) -> tuple[ClassSpec, ObjectCounts]:
    """Fit high threshold, smallest and largest area and aspect of one class on whole defects.

    Among limits that are equally good, the ones that drop least are taken, and the middle of the thresholds that remain: the
    place furthest from where it starts to fail.

    Parameters
    ----------
    scores, truths
        Per image uint8 H x W and bool H x W.
    threshold_low
        Defects grow to connected pixels at or above this; it makes the outline and is fitted elsewhere.
    min_recall
        Take the best precision with at least this recall (or with the best recall, where that is not reached). None takes
        the best F-score with ``beta``.
    overlap
        A true defect is found when this share of it is covered, a said one is right when this share of it is true.

    Raises
    ------
    InputError
        There are no images, or scores and truths do not belong together.
    """
    if not scores or [s.shape for s in scores] != [t.shape for t in truths]:
        raise InputError(
            f"limits of {name} need scores and masks of the same images, got {len(scores)} and {len(truths)}"
        )
    table = _Table.of(scores, truths, name, threshold_low, overlap)
    sizes = measure_sizes(truths)
    levels = table.levels(max(1, math.ceil(threshold_low * 255)))
    best: list[tuple[tuple[float, ...], ClassSpec, ObjectCounts]] = []
    grid = itertools.product(sizes.min_areas(), sizes.max_areas(), sizes.max_aspects(), levels)
    for min_area, max_area, max_aspect, level in grid:
        spec = ClassSpec(
            name=name,
            threshold=max(level / 255, threshold_low),
            threshold_low=threshold_low,
            min_area_px=min_area,
            max_area_px=max_area,
            max_aspect=max_aspect,
        )
        counts = table.count(spec, level)
        quality = _quality(counts, min_recall, beta)
        if not best or quality > best[0][0]:
            best = []
        if not best or quality == best[0][0]:
            best.append((quality, spec, counts))
    least = min(best, key=lambda b: _drops(b[1]))[1]
    same = [b for b in best if _drops(b[1]) == _drops(least)]
    _, spec, counts = same[len(same) // 2]
    return spec, counts


def _quality(counts: ObjectCounts, min_recall: float | None, beta: float) -> tuple[float, ...]:
    if min_recall is None:
        return (counts.f_score(beta),)
    recall = counts.recall if counts.true else 1.0
    precision = counts.precision if counts.said else 1.0
    return min(recall, min_recall), precision


def _drops(spec: ClassSpec) -> tuple[bool, bool, int]:
    return spec.max_aspect is not None, spec.max_area_px is not None, spec.min_area_px


@dataclass(frozen=True, eq=False)
class _Table:
    """Every component above the low threshold, one row each; limits only choose among the rows."""

    peak: npt.NDArray[np.int64]
    area: npt.NDArray[np.int64]
    aspect: npt.NDArray[np.float64]
    right: Mask
    covered_by: npt.NDArray[np.int64]  # one entry per pair of component and true defect that overlap: the component,
    covered: npt.NDArray[np.int64]  # the true defect,
    share: npt.NDArray[np.float64]  # and how much of the latter that is
    true: int
    overlap: float

    @classmethod
    def of(cls, scores: Sequence[U8], truths: Sequence[Mask], name: str, low: float, overlap: float) -> _Table:
        output = OutputContract(classes=(ClassSpec(name=name, threshold=low, threshold_low=low),))
        rows: list[tuple[int, int, float, bool]] = []
        shares: list[tuple[int, int, float]] = []
        true = 0
        for image, truth in zip(scores, truths, strict=True):
            count, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
            areas = np.bincount(labels.ravel(), minlength=count)
            for c in find_components(image[None], output):
                y0, x0, y1, x1 = c.box_yxyx
                inside = np.bincount(labels[y0:y1, x0:x1][c.bitmap > 0], minlength=count)
                right = bool(inside[1:].sum() >= overlap * c.area_px)
                shares += [(len(rows), true + t - 1, inside[t] / areas[t]) for t in range(1, count) if inside[t]]
                rows.append((c.peak, c.area_px, max(y1 - y0, x1 - x0) / min(y1 - y0, x1 - x0), right))
            true += count - 1
        peak, area, aspect, right_ = (np.array([row[i] for row in rows]) for i in range(4))
        by, of, share_ = (np.array([entry[i] for entry in shares]) for i in range(3))
        return cls(
            peak.astype(np.int64),
            area.astype(np.int64),
            aspect.astype(np.float64),
            right_.astype(bool),
            by.astype(np.int64),
            of.astype(np.int64),
            share_.astype(np.float64),
            true,
            overlap,
        )

    def levels(self, lowest: int) -> list[int]:
        """High thresholds worth trying: half-way between the peaks that occur, so that none lies on a defect's own peak."""
        peaks = np.unique(np.append(self.peak, 255))
        between = (peaks[:-1] + peaks[1:] + 1) // 2
        chosen = between[np.unique(np.linspace(0, len(between) - 1, min(len(between), _LEVELS)).astype(int))]
        return sorted({lowest, *(int(level) for level in chosen if level > lowest)})

    def count(self, spec: ClassSpec, level: int) -> ObjectCounts:
        keep = (self.peak >= level) & (self.area >= spec.min_area_px)
        if spec.max_area_px is not None:
            keep &= self.area <= spec.max_area_px
        if spec.max_aspect is not None:
            keep &= self.aspect <= spec.max_aspect
        kept = keep[self.covered_by]
        shares = np.bincount(self.covered[kept], weights=self.share[kept], minlength=self.true)
        found = int(np.count_nonzero(shares >= self.overlap))
        return ObjectCounts(self.true, found, int(keep.sum()), int((keep & self.right).sum()))
