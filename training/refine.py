"""Fit what turns scores into defects, on validation images and through the runtime's own post-processing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from jetspect.evaluation.metrics import Confusion, confusion, mean_defined
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.reference import find_components, paint
from jetspect.training.scorer import Scorer
from jetspect.training.sizes import fit_limits
from jetspect.training.validation import threshold_curves

U8 = npt.NDArray[np.uint8]
_HIGH = (0.0, 0.15, 0.3, 0.45)  # added to the low threshold
_AREAS = (1, 16, 48, 128, 320)


def refine(
    path: Path,
    validation: list[tuple[U8, U8]],
    *,
    goal: Literal["pixels", "objects"] = "pixels",
    min_recall: float | None = None,
    whole_wh: tuple[int, int] | None = None,
) -> Checkpoint:
    """Fit thresholds, hysteresis and limits of size per class, write them into the checkpoint and return it.

    The low threshold comes from the threshold curve. What goes on top of it depends on the goal:

    - ``pixels``: high threshold and smallest area from a small grid, by the sum of pooled IoU, mean IoU over images, and the
      share of defective images in which the defect is found: a sharper outline must not be bought with a missed part.
    - ``objects``: high threshold, areas and aspect from the sizes of the true defects, by whole defects found and wrongly
      said (:func:`~jetspect.training.sizes.fit_limits`; ``min_recall`` belongs to it).

    Numbers on the same images are therefore slightly optimistic; the checkpoint says that they were fitted there.
    """
    checkpoint = Checkpoint.load(path)
    model = checkpoint.build()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (checkpoint.mean, checkpoint.std))
    scorer = Scorer(model, mean, std, whole_wh=whole_wh)
    scores = [scorer(image).scores for image, _ in validation]
    images = [image for image, _ in validation]
    stored = iter(scores)
    curves = threshold_curves(list(validation), lambda _: next(stored), len(checkpoint.classes))
    specs = []
    for k, (name, curve) in enumerate(zip(checkpoint.classes, curves, strict=True)):
        truths = [mask == k + 1 for _, mask in validation]
        low = curve.best_level / 255
        if goal == "objects":
            of_class = [s[k] for s in scores]
            specs.append(fit_limits(of_class, truths, name, threshold_low=low, min_recall=min_recall)[0])
            continue
        grid = [
            ClassSpec(name=name, threshold=min(1.0, low + more), threshold_low=low, min_area_px=area)
            for more in _HIGH
            for area in _AREAS
        ]
        specs.append(max(grid, key=lambda spec: sum(_quality([s[k : k + 1] for s in scores], truths, spec))))
    iou, iou_mean = _together(scores, [mask for _, mask in validation], specs)
    fitted = replace(
        checkpoint,
        thresholds=tuple(s.threshold for s in specs),
        thresholds_low=tuple(s.threshold_low for s in specs),
        min_area_px=tuple(s.min_area_px for s in specs),
        max_area_px=tuple(s.max_area_px for s in specs),
        max_aspect=tuple(s.max_aspect for s in specs),
        info={
            **checkpoint.info,
            "val_iou": iou,
            "val_iou_mean": iou_mean,
            "limits_fitted_on": f"{len(images)} val images",
            "limits_fitted_for": goal,
        },
    )
    fitted.save(path)
    return fitted


def _quality(scores: list[U8], truths: list[npt.NDArray[np.bool_]], spec: ClassSpec) -> tuple[float, float, float]:
    output = OutputContract(classes=(spec,))
    counts = [confusion(paint(find_components(s, output), t.shape) > 0, t) for s, t in zip(scores, truths, strict=True)]
    found = mean_defined(float(c.tp > 0) for c in counts if c.tp + c.fn)
    return *_pooled_and_mean(counts), 0.0 if np.isnan(found) else found


def _together(scores: list[U8], masks: list[U8], specs: list[ClassSpec]) -> tuple[float, float]:
    """Any class against any class, as the evaluation counts."""
    output = OutputContract(classes=tuple(specs))
    counts = [
        confusion(paint(find_components(s, output), m.shape) > 0, m > 0) for s, m in zip(scores, masks, strict=True)
    ]
    return _pooled_and_mean(counts)


def _pooled_and_mean(counts: list[Confusion]) -> tuple[float, float]:
    pooled = sum(counts, Confusion()).iou
    mean = mean_defined(c.iou for c in counts)
    return (0.0 if np.isnan(pooled) else pooled), (0.0 if np.isnan(mean) else mean)
