"""The report of an evaluation: one HTML file that needs nothing else, and ``evaluation.json`` beside it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetspect.errors import InputError, MissingDependencyError
from jetspect.evaluation.measures import Evaluation, Value
from jetspect.evaluation.metrics import recall_by_size, size_bins
from jetspect.evaluation.worst import Overlay

HTML, JSON = "report.html", "evaluation.json"
Interval = tuple[float, float] | None
# Below this share of defective pixels accuracy says nothing.
RARE = 0.1
FEW = 5
TEXTS = {
    "iou": "IoU over all pixels",
    "iou_mean": "IoU, mean over images",
    "dice": "Dice",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "f2": "F2 (recall counts twice)",
    "fpr": "false positive rate",
    "fnr": "false negative rate",
    "accuracy": "accuracy",
    "boundary_iou": "Boundary IoU",
    "pixel_ap": "average precision",
    "pixel_auroc": "AUROC",
    "pixel_accuracy": "pixel accuracy, classes and background",
    "mean_accuracy": "mean accuracy over classes",
    "mean_iu": "mean IU over classes",
    "object_recall": "defects found",
    "object_precision": "said defects that are real",
    "image_recall": "defective images with a defect found in the right place",
    "image_fpr": "clean images with anything found",
    "image_ap": "average precision",
    "image_auroc": "AUROC",
    "image_precision": "precision",
    "image_fnr": "defective images called clean",
    "image_f1": "F1",
    "image_accuracy": "accuracy",
}
PIXELS = ("iou", "iou_mean", "dice", "precision", "recall", "f1", "f2", "fpr", "fnr", "accuracy", "boundary_iou")
RANKED = ("pixel_ap", "pixel_auroc", "pixel_accuracy", "mean_accuracy", "mean_iu")
IMAGES = (
    "image_ap",
    "image_auroc",
    "image_precision",
    "image_fnr",
    "image_f1",
    "image_accuracy",
    "image_recall",
    "image_fpr",
)
SECTIONS = {
    "Pixels": (*PIXELS, *RANKED),
    "Defects": ("object_recall", "object_precision"),
    "Images": IMAGES,
}
HEADLINES = ("iou", "iou_mean", "object_recall", "object_precision", "pixel_ap", "image_ap")


@dataclass(frozen=True)
class Subject:
    """What was evaluated on what: the words of the report's head."""

    model: str
    engine: str
    dataset: str
    split: str


def summarise(
    evaluation: Evaluation, subject: Subject, *, model_classes: tuple[str, ...], resamples: int = 1000
) -> dict[str, Any]:
    """Return everything measured as plain data: measures, 95 % intervals, classes, recall by size, the worst images."""
    bins = recall_by_size(evaluation.objects, size_bins(evaluation.objects))
    return {
        **evaluation.as_dict(),
        "ci95": evaluation.intervals(resamples=resamples),
        "per_class": evaluation.classes_as_dict(),
        "found_by_class": evaluation.kinds_as_dict(),
        "recall_by_area_px": [
            {"from": low, "to": None if math.isinf(high) else high, "n": n, "recall": None if math.isnan(r) else r}
            for low, high, n, r in bins
        ],
        "worst": [
            {"image": i.sample_id, "iou": i.counts.iou, "fp_px": int(i.counts.fp), "fn_px": int(i.counts.fn)}
            for i in evaluation.worst()
        ],
        "accuracy_warning": accuracy_warning(evaluation),
        "notes": notes(evaluation, model_classes),
        "model": subject.model,
        "engine": subject.engine,
        "dataset": subject.dataset,
        "split": subject.split,
    }


def accuracy_warning(evaluation: Evaluation) -> str | None:
    """Say so where accuracy would be high for a model that finds nothing (the review's warning); else None."""
    counts = evaluation.counts
    share = (counts.tp + counts.fn) / max(1.0, counts.tp + counts.fn + counts.fp + counts.tn)
    if share >= RARE:
        return None
    return (
        f"{100 * share:.3g} % of the pixels are defective: a model that finds nothing has an accuracy of {1 - share:.4f}; "
        "judge by recall and FPR instead"
    )


def notes(evaluation: Evaluation, model_classes: tuple[str, ...]) -> list[str]:
    """Say what the numbers cannot, in sentences: no defect, no clean image, other classes, too few parts for intervals."""
    said = []
    defective = sum(i.defective for i in evaluation.images)
    if not defective:
        said.append(
            "no image has a labelled defect, so nothing could be found; look at the labels with jetspect data check"
        )
    if defective == len(evaluation.images):
        said.append("no image is clean, so nothing is known about false alarms on clean parts")
    if set(model_classes) != set(evaluation.classes):
        said.append(
            f"the model knows {', '.join(model_classes)}, the data set {', '.join(evaluation.classes)}: classes of one name "
            "are compared one by one, everything else as defect against background"
        )
    if (groups := len({i.group for i in evaluation.images})) < FEW:
        said.append(f"the images come from {groups} part{'s' if groups > 1 else ''}: too few to rely on intervals")
    return said


def write_report(
    folder: Path, evaluation: Evaluation, summary: Mapping[str, Any], overlays: list[Overlay], *, force: bool = False
) -> Path:
    """Write ``report.html`` and ``evaluation.json`` into a folder and return the path of the first.

    Raises
    ------
    InputError
        The folder holds a report already (without ``force``), or cannot be written.
    MissingDependencyError
        matplotlib or jinja2 is not installed.
    """
    refuse_to_overwrite(folder, force=force)
    page = render(evaluation, summary, overlays)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON).write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
        (folder / HTML).write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}; choose another --out") from error
    return folder / HTML


def refuse_to_overwrite(folder: Path, *, force: bool) -> None:
    """Raise InputError before the work where a report would be replaced without ``force``, or cannot be written."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; --out is a folder")
    if not force and any((folder / name).exists() for name in (HTML, JSON)):
        raise InputError(f"{folder} holds a report already; choose another --out or replace it with --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror or error}; choose another --out") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder} cannot be written; choose another --out")


def require_packages() -> None:
    """Raise MissingDependencyError where what draws reports is not installed, so that it is told before the work."""
    for package in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "HTML reports", "pip install 'jetspect[report]'")


def render(evaluation: Evaluation, summary: Mapping[str, Any], overlays: list[Overlay]) -> str:
    """Return the HTML page."""
    require_packages()
    import jinja2

    from jetspect.evaluation.plots import draw_plots

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    rows = {
        title: [(name, TEXTS[name], _number(summary[name]), _interval(summary["ci95"][name])) for name in names]
        for title, names in SECTIONS.items()
    }
    headlines = [(TEXTS[n], _number(summary[n]), _interval(summary["ci95"][n]), _level(n)) for n in HEADLINES]
    return environment.get_template("evaluation.html").render(
        summary=summary,
        sections=rows,
        headlines=[h for h in headlines if h[1] != "-"],
        plots=draw_plots(evaluation),
        overlays=overlays,
        number=_number,
    )


def _level(name: str) -> str:
    return next(title.lower() for title, names in SECTIONS.items() if name in names)


def _number(value: Value) -> str:
    return "-" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def _interval(interval: Interval) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"
