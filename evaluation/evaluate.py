"""Judge a model on a labelled data set: pixels, outlines, whole defects, and images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet, Sample
from jetspect.evaluation.measures import Evaluation, ImageResult
from jetspect.evaluation.metrics import (
    ScoreHistogram,
    boundary_counts,
    class_matrix,
    confusion,
    match_objects,
)
from jetspect.runtime.results import Prediction

__all__ = ["Evaluation", "ImageResult", "evaluate"]
U8 = npt.NDArray[np.uint8]


def evaluate(
    data: DataSet,
    predict: Callable[[U8], Prediction],
    classes: tuple[str, ...],
    progress: Callable[[int, int], None] = lambda *_: None,
    *,
    decision_threshold: float | None = None,
    boundary_px: int | None = None,
    least_covered: float = 0.0,
) -> Evaluation:
    """Compare what a model says with the labels of every labelled image, one image at a time.

    Parameters
    ----------
    predict
        uint8 image -> prediction (:meth:`jetspect.runtime.inspector.Inspector.predict`).
    classes
        The model's classes. Those of the same name are compared one by one as well.
    decision_threshold
        From which probability on an image is called defective by a model that decides. None, or a model that does not
        decide: an image with any defective pixel is.
    boundary_px
        Width of the outlines in Boundary IoU; None takes 2 % of each image's diagonal.
    least_covered
        Share of a true defect that must be covered for it to be found; 0: any pixel.

    Raises
    ------
    DataSetError
        No image has a label, or a mask has another size than its image.
    """
    images: list[ImageResult] = []
    for index in range(len(data)):
        sample = data[index]
        if sample.mask is not None:
            if sample.mask.shape != sample.image.shape[:2]:
                raise DataSetError(f"{sample.sample_id}: mask {sample.mask.shape}, image {sample.image.shape[:2]}")
            prediction = predict(sample.image)
            said = _said(prediction, decision_threshold)
            images.append(_judge(sample, index, prediction, said, data.classes, classes, boundary_px, least_covered))
        progress(index + 1, len(data))
    if not images:
        raise DataSetError(
            f"data set {data.name} has no labelled image in this split; there is nothing to compare with"
        )
    return Evaluation(tuple(images), tuple(name for name in classes if name in data.classes), data.classes)


def _said(prediction: Prediction, threshold: float | None) -> bool:
    if prediction.decision is None or threshold is None:
        return bool(prediction.mask.any())
    # Both were rounded to levels of 255 on their way.
    return round(255 * prediction.decision) >= round(255 * threshold)


def _judge(
    sample: Sample,
    index: int,
    prediction: Prediction,
    said: bool,
    true_classes: tuple[str, ...],
    classes: tuple[str, ...],
    boundary_px: int | None,
    least_covered: float,
) -> ImageResult:
    assert sample.mask is not None  # the caller skips images without a label
    predicted, truth = prediction.mask > 0, sample.mask > 0
    highest = prediction.scores.max(axis=0) if len(prediction.scores) else np.zeros(truth.shape, np.uint8)
    shared = [name for name in classes if name in true_classes]
    per_class = tuple(
        confusion(prediction.mask == classes.index(name) + 1, sample.mask == true_classes.index(name) + 1)
        for name in shared
    )
    return ImageResult(
        sample_id=sample.sample_id,
        group=sample.group,
        index=index,
        counts=confusion(predicted, truth),
        said=said,
        score=prediction.decision if prediction.decision is not None else int(highest.max(initial=0)) / 255,
        boundary=boundary_counts(predicted, truth, boundary_px),
        histogram=ScoreHistogram.of(highest, truth),
        match=match_objects(predicted, truth, least=least_covered),
        per_class=per_class,
        regions=_regions(prediction.mask, sample.mask, classes, true_classes),
        kinds=tuple(_found(predicted, sample.mask == k, least_covered) for k in range(1, len(true_classes) + 1)),
    )


def _found(predicted: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], least: float) -> tuple[int, int, int, int]:
    """Count the defects of one class, the found ones, their pixels, and the covered ones."""
    pixels = int(np.count_nonzero(truth))
    if not pixels:
        return 0, 0, 0, 0
    objects = match_objects(predicted, truth, least=least).objects
    return len(objects), sum(o.found for o in objects), pixels, int(np.count_nonzero(predicted & truth))


def _regions(said: U8, truth: U8, classes: tuple[str, ...], true_classes: tuple[str, ...]) -> npt.NDArray[np.int64]:
    """Count pixels by class where model and data set have the same classes, else defect against background."""
    if set(true_classes) != set(classes):
        return class_matrix((said > 0).astype(np.uint8), (truth > 0).astype(np.uint8), 1)
    table = np.zeros(256, np.uint8)
    for number, name in enumerate(classes, 1):
        table[number] = true_classes.index(name) + 1
    return class_matrix(table[said], truth, len(true_classes))
