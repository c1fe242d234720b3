"""Curves and scatter of an evaluation, as SVG inside the report."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetspect.evaluation.measures import Evaluation
from jetspect.evaluation.metrics import pr_curve, recall_by_size, roc_curve, size_bins

BLUE, RED, GREY = "#0072b2", "#d55e00", "#8a949c"
STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6eaed",
    "font.size": 10,
    "svg.fonttype": "none",
    "svg.hashsalt": "jetspect",
    "font.family": "sans-serif",
}


@dataclass(frozen=True)
class Plot:
    """One drawing: its title, what it shows, and the SVG."""

    title: str
    text: str
    svg: str


def draw_plots(evaluation: Evaluation) -> list[Plot]:
    """Draw PR and ROC of pixels and images, d-fine's figure 5, and recall by size; what has no data is left out."""
    plots = []
    defective = any(i.defective for i in evaluation.images)
    both = defective and not all(i.defective for i in evaluation.images)
    if defective:
        plots.append(_pr(evaluation, with_images=both))
        plots.append(_roc(evaluation, with_images=both))
        plots.append(_scatter(evaluation))
        plots.append(_by_size(evaluation))
    return plots


def _pr(evaluation: Evaluation, *, with_images: bool) -> Plot:
    figure, axes = _figure("recall", "precision")
    recall, precision, _ = evaluation.histogram.curves()
    ap = evaluation.histogram.average_precision
    axes.step(recall, precision, where="pre", color=BLUE, label=f"pixels, AP {ap:.3f}")
    counts = evaluation.counts
    if counts.tp + counts.fp:
        axes.plot(counts.recall, counts.precision, "o", color=BLUE, label="pixels after post-processing")
    if with_images:
        recall, precision, _ = pr_curve([i.defective for i in evaluation.images], [i.score for i in evaluation.images])
        ap = evaluation.as_dict()["image_ap"] or 0.0
        axes.step(recall, precision, where="pre", color=RED, label=f"images, AP {ap:.3f}")
    _square(axes, "lower left")
    text = "Every threshold of the score map, before post-processing; the dot is what the bundle says in the end."
    return Plot("Precision and recall", text, as_svg(figure))


def _roc(evaluation: Evaluation, *, with_images: bool) -> Plot:
    figure, axes = _figure("false positive rate", "true positive rate")
    recall, _, fpr = evaluation.histogram.curves()
    axes.plot(
        np.append(0, fpr), np.append(0, recall), color=BLUE, label=f"pixels, AUROC {evaluation.histogram.auroc:.3f}"
    )
    if with_images:
        x, y, _ = roc_curve([i.defective for i in evaluation.images], [i.score for i in evaluation.images])
        area = evaluation.as_dict()["image_auroc"] or 0.0
        axes.plot(x, y, color=RED, label=f"images, AUROC {area:.3f}")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    _square(axes, "lower right")
    text = "With few defective pixels this curve flatters: most of its width is clean background."
    return Plot("Receiver operating characteristic", text, as_svg(figure))


def _scatter(evaluation: Evaluation) -> Plot:
    figure, axes = _figure("width of the defect / width of the image", "height of the defect / height of the image")
    for found, colour, marker, label in ((True, BLUE, "o", "found"), (False, RED, "x", "missed")):
        chosen = [o for o in evaluation.objects if o.found is found]
        axes.plot(
            [o.width for o in chosen],
            [o.height for o in chosen],
            marker,
            color=colour,
            markersize=5 if found else 6,
            alpha=0.55 if found else 0.95,
            markeredgewidth=0.4 if found else 1.4,
            label=f"{label}, {len(chosen)}",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(frameon=False, loc="upper left")
    return Plot(
        "Which defects are missed", "Every true defect by its relative size (as figure 5 of d-fine).", as_svg(figure)
    )


def _by_size(evaluation: Evaluation) -> Plot:
    figure, axes = _figure("area of the defect in px", "share found")
    rows = recall_by_size(evaluation.objects, size_bins(evaluation.objects))
    labels = [f"from {low:.0f}" if np.isinf(high) else f"{low:.0f}-{high - 1:.0f}" for low, high, _, _ in rows]
    places = np.arange(len(rows))
    bars = axes.bar(places, [0 if np.isnan(r) else r for *_, r in rows], color=BLUE, width=0.65)
    axes.bar_label(bars, [f"{r:.2f}\nof {n}" for *_, n, r in rows], padding=2, fontsize=9)
    axes.set_xticks(places, labels, fontsize=9)
    axes.set_ylim(0, 1.2)
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(False, axis="x")
    return Plot("Recall by size", "Bins with about as many defects each.", as_svg(figure))


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        return figure, axes


def _square(axes: Axes, place: Literal["lower left", "lower right"]) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.legend(frameon=False, loc=place)


def as_svg(figure: Figure) -> str:
    """Return a figure as an SVG element, the same bytes for the same drawing."""
    stream = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]
