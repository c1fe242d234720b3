"""Score whole validation images and read off how good every threshold would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.metrics import average_precision
from jetspect.training.images import to_channels
from jetspect.training.scorer import Scored

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Curve:
    """IoU of one class at all 255 thresholds: ``iou`` pooled over pixels, ``iou_mean`` over images with that class.

    ``present`` is False where no validation image has the class, so that nothing can be said about it.
    """

    iou: npt.NDArray[np.float64]
    iou_mean: npt.NDArray[np.float64]
    present: bool = True

    @property
    def best_level(self) -> int:
        """The uint8 threshold with the best average of both; 128 where the class is never found and none is better."""
        quality = self.iou + self.iou_mean
        return int(np.argmax(quality)) + 1 if quality.max() > 0 else 128


def labelled(data: DataSet, channels: int) -> Iterator[tuple[U8, U8]]:
    """Yield (image, mask) of every labelled image."""
    for index in range(len(data)):
        sample = data[index]
        if sample.mask is not None:
            yield to_channels(sample.image, channels), sample.mask


def threshold_curves(
    pairs: Iterator[tuple[U8, U8]] | list[tuple[U8, U8]], score: Callable[[U8], U8], classes: int
) -> list[Curve]:
    """Return a curve per class from one pass over the images.

    Histograms of the scores inside and outside the true mask give the counts at every threshold at once.
    """
    inside: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(classes)]
    outside: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(classes)]
    for image, mask in pairs:
        scores = score(image)
        for k in range(classes):
            truth = mask == k + 1
            inside[k].append(np.bincount(scores[k][truth], minlength=256))
            outside[k].append(np.bincount(scores[k][~truth], minlength=256))
    return [_curve(np.array(i), np.array(o)) for i, o in zip(inside, outside, strict=True)]


def _curve(inside: npt.NDArray[np.int64], outside: npt.NDArray[np.int64]) -> Curve:
    def reached(histogram: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Pixels at or above each level 1..255, per image."""
        return np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1][:, 1:].astype(np.float64)

    tp, fp = reached(inside), reached(outside)
    truth = inside.sum(axis=1, keepdims=True)
    union = fp + truth
    with_class = truth[:, 0] > 0
    per_image = tp[with_class] / union[with_class]
    mean = per_image.mean(axis=0) if with_class.any() else np.zeros(255)
    return Curve(tp.sum(axis=0) / np.maximum(union.sum(axis=0), 1), mean, bool(with_class.any()))


@dataclass(frozen=True, eq=False)
class Judgement:
    """How good a model is on the validation images.

    Attributes
    ----------
    curves
        One per class.
    image_ap
        Average precision of the decision per image; None for a model that makes none, or without images of both kinds.
    decision_level
        The uint8 threshold of the decision with the best F1.
    """

    curves: tuple[Curve, ...]
    image_ap: float | None = None
    decision_level: int | None = None

    @property
    def iou(self) -> float:
        """Pooled IoU at the best threshold of each class, averaged over the classes that are present."""
        return self._average([float(c.iou[c.best_level - 1]) for c in self.curves if c.present])

    @property
    def iou_mean(self) -> float:
        """Mean IoU over images at the same thresholds, averaged over the classes."""
        return self._average([float(c.iou_mean[c.best_level - 1]) for c in self.curves if c.present])

    @staticmethod
    def _average(values: list[float]) -> float:
        return sum(values) / len(values) if values else 0.0

    def quality(self, *, decides: bool) -> float:
        """What the best checkpoint has most of: one that learns to decide is judged by its decisions, others by their masks."""
        masks = self.iou + self.iou_mean
        return masks if self.image_ap is None or not decides else self.image_ap + 1e-3 * masks


def judge(pairs: list[tuple[U8, U8]], score: Callable[[U8], Scored], classes: int) -> Judgement:
    """Score every validation image once and read off masks and decisions."""
    decisions: list[int] = []

    def keep(image: U8) -> U8:
        scored = score(image)
        if scored.decision is not None:
            decisions.append(scored.decision)
        return scored.scores

    curves = tuple(threshold_curves(pairs, keep, classes))
    truths = np.array([bool(mask.any()) for _, mask in pairs])
    if not decisions or truths.all() or not truths.any():
        return Judgement(curves)
    levels = np.array(decisions)
    return Judgement(curves, average_precision(truths, levels / 255), best_decision_level(levels, truths))


def best_decision_level(levels: npt.NDArray[np.int64], truths: npt.NDArray[np.bool_]) -> int:
    """Return the uint8 threshold 1..255 with the best F1; the middle of the range where several are as good."""
    said = levels[None, :] >= np.arange(1, 256)[:, None]
    tp = (said & truths).sum(axis=1)
    f1 = 2 * tp / (said.sum(axis=1) + truths.sum())
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    # Of one unbroken run of equally good thresholds the middle is the furthest from either kind.
    run = best[: int(np.argmax(np.diff(best, append=best[-1] + 2) > 1)) + 1]
    return int(run[len(run) // 2]) + 1
