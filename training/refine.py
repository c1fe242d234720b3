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
from jetspect.training.outlines import fit_outlines
from jetspect.training.scorer import Scorer
from jetspect.training.sizes import fit_limits
from jetspect.training.validation import threshold_curves

U8 = npt.NDArray[np.uint8]


def refine(
    path: Path,
    validation: list[tuple[U8, U8]],
    *,
    goal: Literal["pixels", "objects"] = "pixels",
    min_recall: float | None = None,
    whole_wh: tuple[int, int] | None = None,
) -> Checkpoint:
    """Fit thresholds, hysteresis and limits of size per class, write them into the checkpoint and return it.

    They start from the best single threshold. What is looked for depends on the goal:

    - ``pixels``: both thresholds and the smallest area, by the outlines (:func:`~jetspect.training.outlines.fit_outlines`).
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
        specs.append(fit_outlines([s[k] for s in scores], truths, name, low))
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
