"""Drawings of ``jetspect bench tiles``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jetspect.benchmarks.report import COLOURS
from jetspect.benchmarks.tile_choice import p50_ms
from jetspect.benchmarks.tile_points import Measured
from jetspect.evaluation.plots import BLUE, GREY, RED, STYLE, Plot, as_svg

_LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a949c", "#1b2329")
_MOST_BARS = 16


def draw(measured: Sequence[Measured], best: Sequence[Measured], chosen: Measured) -> list[Plot]:
    """Draw speed by tile, time against memory, where the time goes, and accuracy where it was measured."""
    plots = [_speed(measured), _memory(measured, best, chosen), _stages(measured)]
    if any(m.accuracy is not None and m.accuracy.iou is not None for m in measured):
        plots.append(_accuracy(measured, chosen))
    return plots


def _speed(measured: Sequence[Measured]) -> Plot:
    figure, axes = _figure("tile edge in px", "megapixels per second")
    kinds = dict.fromkeys((m.point.engine, m.point.precision, m.point.batch) for m in measured)
    for number, kind in enumerate(kinds):
        same = [m for m in measured if (m.point.engine, m.point.precision, m.point.batch) == kind]
        label = f"{kind[0]} {kind[1]} x {kind[2]}"
        colour, dash = _LINES[number % len(_LINES)], ("-", "--", ":")[number // len(_LINES) % 3]
        axes.plot([m.point.tile_px for m in same], [m.mp_per_s for m in same], "o" + dash, color=colour, label=label)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8, ncols=1 + (len(kinds) > 8))
    return Plot("Speed by tile size", "Larger tiles send fewer pixels through the network twice.", as_svg(figure))


def _memory(measured: Sequence[Measured], best: Sequence[Measured], chosen: Measured) -> Plot:
    figure, axes = _figure("median time of a frame in s", "peak memory in MB")
    axes.plot(_seconds(measured), [m.memory_mb for m in measured], "o", color=GREY, alpha=0.6, label="measured")
    edge = sorted(best, key=p50_ms)
    flat = all(m.accuracy is None for m in measured)  # else the set is no line in this plane
    axes.plot(_seconds(edge), [m.memory_mb for m in edge], "o-" if flat else "o", color=BLUE, label="beaten by none")
    axes.plot(_seconds([chosen]), [chosen.memory_mb], "D", color=RED, markersize=9, label="recommended")
    for m in edge:
        axes.annotate(
            f"{m.point.tile_px} x {m.point.batch}",
            (p50_ms(m) / 1e3, m.memory_mb),
            textcoords="offset points",
            xytext=(6, 5),
            fontsize=8,
        )
    axes.legend(frameon=False)
    axes.margins(0.12)
    text = "Each point was measured in a process of its own. Labels: tile x batch."
    return Plot("Time against memory", text, as_svg(figure))


def _stages(measured: Sequence[Measured]) -> Plot:
    shown = sorted(measured, key=p50_ms)[:_MOST_BARS]
    figure, axes = _figure("share of the frame's time outside the engine in %", "")
    names = [n for n in COLOURS if n not in ("engine", "verdict") and any(n in m.stages_ms for m in shown)]
    left = [0.0] * len(shown)
    places = range(len(shown))
    for name in names:
        width = [100 * sum(m.stages_ms.get(name, (0.0,))) / sum(m.stages_ms["total"]) for m in shown]
        axes.barh(places, width, left=left, color=COLOURS[name], label=name, height=0.7)
        left = [a + b for a, b in zip(left, width, strict=True)]
    words = [f"{m.point.tile_px} x {m.point.batch} {m.point.precision} {m.point.engine}" for m in shown]
    axes.set_yticks(list(places), words, fontsize=8)
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    more = f" The fastest {_MOST_BARS} of {len(measured)} points." if len(measured) > _MOST_BARS else ""
    return Plot(
        "Where the rest of the time goes",
        "What the frame costs beside the network, the fastest first." + more,
        as_svg(figure),
    )


def _accuracy(measured: Sequence[Measured], chosen: Measured) -> Plot:
    figure, axes = _figure("median time of a frame in s", "IoU")
    for number, precision in enumerate(dict.fromkeys(m.point.precision for m in measured)):
        same = [m for m in measured if m.point.precision == precision and m.accuracy is not None]
        ious = [m.accuracy.iou or 0.0 for m in same if m.accuracy is not None]
        axes.plot(_seconds(same), ious, "o", color=_LINES[number % len(_LINES)], label=precision)
    if chosen.accuracy is not None:
        axes.plot(
            _seconds([chosen]),
            [chosen.accuracy.iou or 0.0],
            "D",
            color=RED,
            fillstyle="none",
            markersize=11,
            label="recommended",
        )
    axes.legend(frameon=False)
    axes.margins(0.12)
    return Plot("Time against accuracy", "On the labelled images, through the same tiles.", as_svg(figure))


def _seconds(measured: Sequence[Measured]) -> list[float]:
    return [statistics.median(m.stages_ms["total"]) / 1e3 for m in measured]


def _figure(x: str, y: str) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.8, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        return figure, axes
