"""Fit thresholds and the smallest area of a class for its outlines: what agrees best with the labels, pixel by pixel."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.evaluation.metrics import Confusion, mean_defined
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.reference import find_components, level_of

U8 = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]
_LOW = (0.5, 0.75, 1.0, 1.25)  # times the best single threshold
_HIGH = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # added to the low threshold
_AREAS = (1, 8, 16, 32, 48, 80, 128, 200, 320)


@dataclass(frozen=True, eq=False)
class _Found:
    """Every component above the low threshold in one image.

    Attributes
    ----------
    area, peak, hits
        int64 N: its pixels, its highest score (0-255), and how many of its pixels are truly defective.
    touches
        bool N x M: which of the M true defects it touches.
    truth, pixels
        Truly defective pixels, and all pixels.
    """

    area: Counts
    peak: Counts
    hits: Counts
    touches: npt.NDArray[np.bool_]
    truth: int
    pixels: int

    def kept(self, high: int, area: int) -> npt.NDArray[np.bool_]:
        return (self.peak >= high) & (self.area >= area)

    def counts(self, high: int, area: int) -> Confusion:
        kept = self.kept(high, area)
        tp, said = int(self.hits[kept].sum()), int(self.area[kept].sum())
        return Confusion(tp, said - tp, self.truth - tp, self.pixels - self.truth - said + tp)

    def objects(self, high: int, area: int) -> Confusion:
        """Count whole defects as :func:`~jetspect.evaluation.metrics.match_objects` does: found, wrongly said, missed."""
        touches = self.touches[self.kept(high, area)]
        found, right = int(touches.any(axis=0).sum()), int(touches.any(axis=1).sum())
        return Confusion(found, len(touches) - right, touches.shape[1] - found, 0)


def fit_outlines(scores: list[U8], truths: list[npt.NDArray[np.bool_]], name: str, best: float) -> ClassSpec:
    """Return the thresholds and smallest area with the largest sum of three measures.

    They are pooled IoU, mean IoU over images, and F2 of whole defects (found, wrongly said, missed; a miss counts more than
    a false alarm): a sharper outline must not be bought with a missed defect, however small, nor finding all of them with
    nothing but false alarms. Components are found as the runtime finds them.

    Parameters
    ----------
    scores, truths
        Score maps of one class, uint8 H x W, and bool H x W, one each per image.
    best
        The single threshold, 0-1, with the best IoU; low thresholds around it are tried.
    """
    chosen, most = ClassSpec(name=name, threshold=best, threshold_low=best), -1.0
    lows = sorted({level_of(min(1.0, max(1, round(255 * best * factor)) / 255)) for factor in _LOW})
    for low in lows:
        found = [_components(s, t, low) for s, t in zip(scores, truths, strict=True)]
        highs = sorted({min(255, low + round(255 * more)) for more in _HIGH})
        for high, area in itertools.product(highs, _AREAS):
            quality = _quality(found, high, area)
            if quality > most + 1e-9:  # of equals the first: lower thresholds, smaller areas
                most = quality
                chosen = ClassSpec(name=name, threshold=high / 255, threshold_low=low / 255, min_area_px=area)
    return chosen


def _components(scores: U8, truth: npt.NDArray[np.bool_], low: int) -> _Found:
    every = OutputContract(classes=(ClassSpec(name="any", threshold=low / 255, threshold_low=low / 255),))
    components = find_components(scores[None], every)
    count, labels = cv2.connectedComponents(truth.astype(np.uint8), connectivity=8)
    measured = np.zeros((len(components), 3), np.int64)
    touches = np.zeros((len(components), count), np.bool_)
    for n, component in enumerate(components):
        top, left, bottom, right = component.box_yxyx
        under = labels[top:bottom, left:right][component.bitmap > 0]
        measured[n] = component.area_px, component.peak, np.count_nonzero(under)
        touches[n, np.unique(under)] = True
    area, peak, hits = measured.T
    return _Found(area, peak, hits, touches[:, 1:], int(np.count_nonzero(truth)), truth.size)


def _quality(images: list[_Found], high: int, area: int) -> float:
    counts = [image.counts(high, area) for image in images]
    objects = sum((image.objects(high, area) for image in images), Confusion())
    parts = sum(counts, Confusion()).iou, mean_defined(c.iou for c in counts), objects.fbeta(2)
    return sum(0.0 if np.isnan(part) else part for part in parts)
