"""Judge a model on a labelled data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.metrics import Confusion, confusion, mean_defined

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ImageResult:
    """One image: any class against any class, over pixels."""

    sample_id: str
    counts: Confusion

    @property
    def defective(self) -> bool:
        return self.counts.tp + self.counts.fn > 0

    @property
    def found(self) -> bool:
        """At least one defective pixel was found."""
        return self.counts.tp > 0


@dataclass(frozen=True)
class Evaluation:
    """Everything measured on one data set."""

    images: tuple[ImageResult, ...]
    per_class: dict[str, Confusion] = field(default_factory=dict)

    @property
    def counts(self) -> Confusion:
        return sum((i.counts for i in self.images), Confusion())

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the measures; one without a denominator is None.

        ``iou``, ``precision``, ``recall``, ``f1``, ``fpr`` and ``fnr`` pool all pixels. ``iou_mean`` is the mean over
        images with a true or predicted defect. ``image_recall`` is the share of defective images in which at least one
        defective pixel was found, ``image_fpr`` the share of clean images in which anything was.
        """
        total = self.counts
        defective = [i for i in self.images if i.defective]
        clean = [i for i in self.images if not i.defective]
        values: dict[str, float | int] = {
            "iou": total.iou,
            "iou_mean": mean_defined(i.counts.iou for i in self.images),
            "precision": total.precision,
            "recall": total.recall,
            "f1": total.f1,
            "fpr": total.fpr,
            "fnr": total.fnr,
            "image_recall": mean_defined(float(i.found) for i in defective),
            "image_fpr": mean_defined(float(i.counts.fp > 0) for i in clean),
            "n": len(self.images),
            "n_defective": len(defective),
        }
        return {name: None if math.isnan(value) else value for name, value in values.items()}

    def classes_as_dict(self) -> dict[str, dict[str, float | None]]:
        """Return IoU, precision and recall of each class."""
        return {
            name: {
                k: None if math.isnan(v) else v
                for k, v in (("iou", c.iou), ("precision", c.precision), ("recall", c.recall))
            }
            for name, c in self.per_class.items()
        }


def evaluate(
    data: DataSet,
    predict: Callable[[U8], U8],
    classes: tuple[str, ...],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Evaluation:
    """Compare a model's class masks with the true ones on every labelled image.

    Parameters
    ----------
    predict
        uint8 image -> uint8 H x W mask, 0 background, k for ``classes[k - 1]``.
    classes
        The model's classes. Those of the same name are compared one by one as well.

    Raises
    ------
    DataSetError
        No image has a label, or a mask has another size than its image.
    """
    images: list[ImageResult] = []
    shared = [name for name in classes if name in data.classes]
    per_class = dict.fromkeys(shared, Confusion())
    for index in range(len(data)):
        sample = data[index]
        if sample.mask is not None:
            if sample.mask.shape != sample.image.shape[:2]:
                raise DataSetError(f"{sample.sample_id}: mask {sample.mask.shape}, image {sample.image.shape[:2]}")
            predicted = predict(sample.image)
            images.append(ImageResult(sample.sample_id, confusion(predicted > 0, sample.mask > 0)))
            for name in shared:
                said, there = predicted == classes.index(name) + 1, sample.mask == data.classes.index(name) + 1
                per_class[name] += confusion(said, there)
        progress(index + 1, len(data))
    if not images:
        raise DataSetError(
            f"data set {data.name} has no labelled image in this split; there is nothing to compare with"
        )
    return Evaluation(tuple(images), per_class)
