"""Drawings of ``jetspect bench latency``."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from jetspect.benchmarks.latency import Found
from jetspect.benchmarks.open_loop import Arrivals
from jetspect.evaluation.plots import BLUE, GREY, RED, STYLE, Plot, as_svg


def draw(run: Arrivals, found: Found | None) -> list[Plot]:
    """Draw the histogram, the percentiles up to the longest, and the tries of the search."""
    plots = [_histogram(run), _tail(run)] if run.latency_ms else []
    return [*plots, _search(found)] if found is not None and found.tries else plots


def _histogram(run: Arrivals) -> Plot:
    from jetspect.benchmarks.latency_report import histogram, quantiles

    figure, axes = _figure("trigger to PUBACK in ms", "parts")
    bins = histogram(run.latency_ms)
    left = [b["from_ms"] for b in bins]
    axes.bar(left, [b["count"] for b in bins], [b["to_ms"] - b["from_ms"] for b in bins], align="edge", color=BLUE)
    for name, value in list(quantiles(run.latency_ms).items())[:3]:
        axes.axvline(value, color=RED, linewidth=1)
        axes.annotate(name, (value, 0.97), xycoords=("data", "axes fraction"), rotation=90, va="top", fontsize=8)
    _log(axes, "x")
    return Plot("Latencies", f"{len(run.latency_ms)} parts at {run.rate:.3g}/s.", as_svg(figure))


def _tail(run: Arrivals) -> Plot:
    figure, axes = _figure("share of parts that took longer", "ms")
    for samples, colour, label in (
        (run.latency_ms, BLUE, "trigger to PUBACK"),
        (run.recorded_ms, GREY, "trigger to outbox"),
    ):
        ordered = np.sort(samples)[::-1]
        axes.step(np.arange(1, len(ordered) + 1) / len(ordered), ordered, color=colour, label=label)
    _log(axes, "xy")
    axes.invert_xaxis()
    axes.legend(frameon=False)
    return Plot("The tail", "How long the slowest share takes.", as_svg(figure))


def _search(found: Found) -> Plot:
    figure, axes = _figure("parts per second", "longest trigger to PUBACK in ms")
    for kept, colour, marker, label in ((True, BLUE, "o", "nothing dropped"), (False, RED, "x", "something dropped")):
        runs = [r for r in found.tries if (not r.dropped) is kept and r.latency_ms]
        axes.plot([r.rate for r in runs], [max(r.latency_ms) for r in runs], marker, color=colour, label=label)
    _log(axes, "xy")
    axes.margins(0.1)
    axes.legend(frameon=False)
    return Plot("The highest rate", "Every try of the search.", as_svg(figure))


def _log(axes: Axes, which: str) -> None:
    """Make axes logarithmic, with plain numbers on them."""
    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        axis.set_major_formatter(LogFormatter())
        axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.2, 0.5)))


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        return figure, axes
