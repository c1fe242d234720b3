"""The accuracy gate: every precision of a bundle on the same labelled images, through the same code that a station runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from jetspect.calibration.prepare import reported
from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.evaluate import evaluate
from jetspect.evaluation.measures import Evaluation
from jetspect.evaluation.metrics import ScoreHistogram, recall_by_size, size_bins
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.golden import GoldenReport
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.manifest import Precision


@dataclass(frozen=True, eq=False)
class Row:
    """What one precision reaches on the images.

    Attributes
    ----------
    best_level
        The threshold, in steps of 1/255, at which its scores have the best IoU: how far precision moves it.
    golden
        How far it is from the golden tiles; None for PyTorch.
    """

    name: str
    engine: str
    evaluation: Evaluation
    best_level: int
    golden: GoldenReport | None

    @property
    def measures(self) -> dict[str, float | None]:
        return self.evaluation.as_dict()

    @property
    def accuracy(self) -> dict[str, float]:
        """The measures that go into the manifest."""
        return reported(self.evaluation)

    def recall_by_size(self) -> list[tuple[float, float, int, float]]:
        """Return from, to (area in px), number and recall of the defects, in five bins of equal number."""
        objects = self.evaluation.objects
        return list(recall_by_size(objects, size_bins(objects)))


@dataclass(frozen=True)
class Limits:
    """What a precision may lose against FP32: IoU, share of whole defects found; and how many more clean images may alarm."""

    max_iou_drop: float = 0.005
    max_recall_drop: float = 0.0
    max_false_alarms: float = 0.02

    def faults(self, fp32: Row, other: Row) -> tuple[str, ...]:
        """Say in sentences what a precision loses too much of."""
        found = []
        for name, text, most in (
            ("iou", "IoU", self.max_iou_drop),
            ("object_recall", "recall of whole defects", self.max_recall_drop),
        ):
            before, after = fp32.measures[name], other.measures[name]
            if before is not None and after is not None and before - after > most + 1e-9:
                found.append(
                    f"{other.name} loses {before - after:.4f} of {text} ({before:.4f} to {after:.4f}), allowed are {most:g}"
                )
        quiet, alarms = fp32.measures["image_fpr"], other.measures["image_fpr"]
        if quiet is not None and alarms is not None and alarms - quiet > self.max_false_alarms + 1e-9:
            found.append(
                f"{other.name} finds something on {alarms:.1%} of the clean images, FP32 on {quiet:.1%}; "
                f"{self.max_false_alarms:.1%} more are allowed"
            )
        return tuple(found)


def measure(
    bundle: Bundle,
    data: DataSet,
    precisions: Iterable[Precision],
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Row]:
    """Judge graphs of a bundle on every labelled image of a data set."""
    rows = []
    for precision in precisions:
        engine, golden = open_engine(bundle, precision=precision)
        rows.append(measure_engine(bundle, engine, data, precision, golden, progress))
    return rows


def measure_engine(
    bundle: Bundle,
    engine: Engine,
    data: DataSet,
    name: str,
    golden: GoldenReport | None = None,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Row:
    """Judge what an engine answers, with the bundle's tiling and post-processing. Closes the engine."""
    classes = tuple(c.name for c in bundle.manifest.output.classes)
    decision = bundle.manifest.output.decision
    with Inspector(bundle, engine) as inspector:
        result = evaluate(
            data,
            inspector.predict,
            classes,
            lambda done, total: progress(f"{name} on whole images", done, total),
            decision_threshold=None if decision is None else decision.threshold,
        )
    return Row(name, str(engine.info), result, best_level(result.histogram), golden)


def best_level(histogram: ScoreHistogram) -> int:
    """Return the score from which on pixels give the best IoU when called defective."""
    hits = np.cumsum(histogram.defect[::-1])[::-1]
    alarms = np.cumsum(histogram.clean[::-1])[::-1]
    union = np.maximum(alarms + histogram.defect.sum(), 1)
    # Level 0 would call every pixel defective; a threshold is at least 1.
    return 1 + int(np.argmax((hits / union)[1:]))
