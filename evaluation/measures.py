"""Measures of a whole evaluation, made of what was kept of each image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from jetspect.evaluation.metrics import (
    Confusion,
    ObjectMatch,
    ScoreHistogram,
    TrueObject,
    auroc,
    average_precision,
    bootstrap,
    mean_accuracy,
    mean_iu,
    pixel_accuracy,
)

Weights = npt.NDArray[np.float64]
F64 = npt.NDArray[np.float64]
Value = float | int | None
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ImageResult:
    """What is kept of one image: a few kilobytes, however large it is.

    Attributes
    ----------
    counts
        Pixels, any class against any class.
    said
        Whether the image was called defective.
    score
        How sure the model is of that, 0-1: its decision, or its highest pixel.
    boundary
        Intersection and union of the outlines in pixels.
    per_class
        Pixels of each class that model and data set share.
    regions
        Pixels of true class (row) and said class (column), 0 the background.
    kinds
        For each true class, whatever class was said: defects, found ones, their pixels, and pixels covered.
    """

    sample_id: str
    group: str
    index: int
    counts: Confusion
    said: bool
    score: float
    boundary: tuple[int, int]
    histogram: ScoreHistogram
    match: ObjectMatch
    per_class: tuple[Confusion, ...]
    regions: npt.NDArray[np.int64]
    kinds: tuple[tuple[int, int, int, int], ...]

    @property
    def defective(self) -> bool:
        return self.counts.tp + self.counts.fn > 0

    @property
    def found(self) -> bool:
        """At least one defective pixel was found."""
        return self.counts.tp > 0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Everything measured on one data set.

    Attributes
    ----------
    shared
        Classes that model and data set have in common.
    classes
        The data set's classes.
    """

    images: tuple[ImageResult, ...]
    shared: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def counts(self) -> Confusion:
        return sum((i.counts for i in self.images), Confusion())

    @property
    def per_class(self) -> dict[str, Confusion]:
        return {name: sum((i.per_class[k] for i in self.images), Confusion()) for k, name in enumerate(self.shared)}

    @property
    def objects(self) -> tuple[TrueObject, ...]:
        """Every true defect of every image."""
        return tuple(o for i in self.images for o in i.match.objects)

    @property
    def histogram(self) -> ScoreHistogram:
        return ScoreHistogram(self._histograms[:, 0].sum(axis=0), self._histograms[:, 1].sum(axis=0))

    @property
    def decisions(self) -> Confusion:
        """Images called defective against defective images."""
        return _binary(self._said, self._defective, self._ones)

    def as_dict(self) -> dict[str, Value]:
        """Return the measures; one without a denominator is None.

        - Pixels, pooled over all images: ``iou``, ``dice``, ``precision``, ``recall``, ``f1``, ``f2``, ``fpr``, ``fnr``,
          ``accuracy``, ``boundary_iou``, ``pixel_ap``, ``pixel_auroc``; ``iou_mean`` is the mean over images with a true or
          said defect.
        - PartsNet's, over classes and background (a model with other classes than the data set: over defect and background):
          ``pixel_accuracy``, ``mean_accuracy``, ``mean_iu``.
        - Whole defects: ``object_recall``, ``object_precision``.
        - Images: ``image_recall`` is the share of defective images in which a defective pixel was found, ``image_fpr`` the
          share of clean images in which anything was. What is decided of an image: ``image_ap``, ``image_auroc``,
          ``image_fp``, ``image_fn``, ``image_precision``, ``image_fnr``, ``image_f1``, ``image_accuracy``.
        """
        counted = {
            "n": len(self.images),
            "n_defective": sum(i.defective for i in self.images),
            "n_objects": len(self.objects),
            "image_fp": int(self.decisions.fp),
            "image_fn": int(self.decisions.fn),
        }
        return {**{k: _defined(v) for k, v in self.measures(self._ones).items()}, **counted}

    def intervals(self, *, resamples: int = 1000, seed: int = 0) -> dict[str, tuple[float, float] | None]:
        """Return 95 % intervals of the measures by resampling whole groups of images; None where one is not defined."""
        found = bootstrap(self.measures, [i.group for i in self.images], resamples=resamples, seed=seed)
        return {name: None if math.isnan(low) else (low, high) for name, (low, high) in found.items()}

    def classes_as_dict(self) -> dict[str, dict[str, Value]]:
        """Return IoU, precision and recall of each shared class."""
        return {
            name: {k: _defined(v) for k, v in (("iou", c.iou), ("precision", c.precision), ("recall", c.recall))}
            for name, c in self.per_class.items()
        }

    def kinds_as_dict(self) -> dict[str, dict[str, Value]]:
        """Return what was found of each true class, whatever class was said; nothing for a data set of one class.

        ``n`` defects, ``object_recall`` of them, and ``recall`` of their pixels.
        """
        if len(self.classes) < 2:
            return {}
        sums = np.array([i.kinds for i in self.images], np.int64).sum(axis=0)
        return {
            name: {"n": int(n), "object_recall": _defined(_ratio(hit, n)), "recall": _defined(_ratio(covered, pixels))}
            for name, (n, hit, pixels, covered) in zip(self.classes, sums, strict=True)
        }

    def worst(self, count: int = 12) -> list[ImageResult]:
        """Return the images with the lowest IoU, of equal ones those with more wrong pixels first; quiet clean ones never."""
        wrong = [i for i in self.images if i.counts.fp + i.counts.fn]
        return sorted(wrong, key=lambda i: (i.counts.iou, -(i.counts.fp + i.counts.fn)))[:count]

    def measures(self, weights: Weights) -> dict[str, float]:
        """Return every ratio with images counted as often as their weight says; NaN without a denominator."""
        w = np.asarray(weights, np.float64)
        pixels = Confusion(*(w @ self._pixels))
        defective, said, found = self._defective, self._said, self._pixels[:, 0] > 0
        decided = _binary(said, defective, w)
        has_iou = ~np.isnan(self._ious)
        histogram = ScoreHistogram(*(np.tensordot(w, self._histograms, axes=1)))
        both, either, true, hit, claimed, right = w @ self._sums
        regions = np.tensordot(w, self._regions, axes=1)
        return {
            "iou": pixels.iou,
            "iou_mean": _ratio(float(w[has_iou] @ self._ious[has_iou]), float(w[has_iou].sum())),
            "dice": pixels.dice,
            "precision": pixels.precision,
            "recall": pixels.recall,
            "f1": pixels.f1,
            "f2": pixels.fbeta(2),
            "fpr": pixels.fpr,
            "fnr": pixels.fnr,
            "accuracy": pixels.accuracy,
            "boundary_iou": _ratio(both, either),
            "pixel_ap": histogram.average_precision,
            "pixel_auroc": histogram.auroc,
            "pixel_accuracy": pixel_accuracy(regions),
            "mean_accuracy": mean_accuracy(regions),
            "mean_iu": mean_iu(regions),
            "object_recall": _ratio(hit, true),
            "object_precision": _ratio(right, claimed),
            "image_recall": _ratio(float(w @ (found & defective)), float(w @ defective)),
            "image_fpr": _ratio(float(w @ ((self._pixels[:, 1] > 0) & ~defective)), float(w @ ~defective)),
            "image_ap": average_precision(defective, self._scores, w) if (w @ ~defective) > 0 else math.nan,
            "image_auroc": auroc(defective, self._scores, w),
            "image_precision": decided.precision,
            "image_fnr": decided.fnr,
            "image_f1": decided.f1,
            "image_accuracy": decided.accuracy,
        }

    @cached_property
    def _ones(self) -> Weights:
        return np.ones(len(self.images))

    @cached_property
    def _pixels(self) -> F64:
        return np.array([(c.tp, c.fp, c.fn, c.tn) for c in (i.counts for i in self.images)], np.float64)

    @cached_property
    def _ious(self) -> F64:
        return np.array([i.counts.iou for i in self.images])

    @cached_property
    def _defective(self) -> Flags:
        return np.array([i.defective for i in self.images])

    @cached_property
    def _said(self) -> Flags:
        return np.array([i.said for i in self.images])

    @cached_property
    def _scores(self) -> F64:
        return np.array([i.score for i in self.images])

    @cached_property
    def _histograms(self) -> F64:
        return np.array([(i.histogram.defect, i.histogram.clean) for i in self.images], np.float64)

    @cached_property
    def _regions(self) -> F64:
        return np.array([i.regions for i in self.images], np.float64)

    @cached_property
    def _sums(self) -> F64:
        """Per image: outlines shared and united, defects, found ones, said ones, right ones."""
        return np.array(
            [
                (*i.boundary, len(i.match.objects), sum(o.found for o in i.match.objects), i.match.said, i.match.right)
                for i in self.images
            ],
            np.float64,
        )


def _binary(said: Flags, truth: Flags, w: Weights) -> Confusion:
    parts = said & truth, said & ~truth, ~said & truth, ~said & ~truth
    return Confusion(*(float(w @ part) for part in parts))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


def _defined(value: float) -> Value:
    return None if math.isnan(value) else float(value)
