"""Drawings of a calibration, as SVG inside the report: what each block loses, and where each activation is clipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator

from jetspect.calibration.judge import Quality
from jetspect.calibration.ranges import Histogram
from jetspect.calibration.search import Found
from jetspect.evaluation.plots import BLUE, GREY, RED, STYLE, Plot, as_svg

F64 = npt.NDArray[np.float64]
_BARS = 96
# Longer names are shortened in front, where they differ least from each other.
_LETTERS = 26


@dataclass(frozen=True)
class Clipped:
    """One activation as its convolutions read it.

    Attributes
    ----------
    readers
        Blocks whose INT8 convolutions read it.
    limit
        Magnitude from which on values are clipped.
    """

    name: str
    readers: tuple[str, ...]
    histogram: Histogram
    limit: float

    @property
    def share(self) -> float:
        """Share of the values that are clipped."""
        counts, middles = self.histogram.magnitudes()
        return float(counts[middles > self.limit].sum() / max(1.0, counts.sum()))


def draw_blocks(found: Found, fp32: Quality) -> str:
    """Draw what each block alone loses when it is INT8: IoU, and the mean error of the scores."""
    blocks, places = found.losses, np.arange(len(found.losses))
    back = [b.block in found.given_back for b in blocks]
    lost = [100 * (fp32.iou - b.quality.iou) for b in blocks]
    errors = [b.quality.error_levels for b in blocks]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 1.3 + 0.27 * len(blocks)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, values, text, digits, least in (
            (left, lost, "IoU lost, in points (1 point = 0.01 of IoU)", 2, 0.2),
            (right, errors, "mean error of the scores, in levels of 255", 3, 0.02),
        ):
            bars = axes.barh(places, values, color=[RED if b else BLUE for b in back], height=0.62)
            for bar, given in zip(bars, back, strict=True):
                bar.set_hatch("////" if given else "")
                bar.set_edgecolor("white")
            axes.bar_label(bars, [_number(v, digits) for v in values], padding=3, fontsize=8.5)
            # Room for the numbers; and a few thousandths of a point must not look like a disaster.
            low, high = min(0.0, *values), max(least, *values)
            room = 0.14 * (high - low)
            axes.set_xlim(low - room if low < 0 else 0, high + room)
            axes.axvline(0, color=GREY, linewidth=0.8)
            axes.set_xlabel(text)
            axes.grid(False, axis="y")
            axes.tick_params(axis="y", length=0)
        left.set_yticks(places, [_label(b.block, b.macs, given) for b, given in zip(blocks, back, strict=True)])
        left.set_ylim(len(blocks) - 0.5, -0.5)
        return as_svg(figure)


def draw_activations(activations: Sequence[Clipped]) -> list[Plot]:
    """Draw the values of each activation over the crops, log scale, with the range that INT8 keeps."""
    return [Plot(_short(a.name), _text(a), _histogram(a)) for a in activations]


def _histogram(activation: Clipped) -> str:
    edges, counts = rebinned(activation.histogram)
    inside = (np.abs(edges[:-1] + edges[1:]) / 2) <= activation.limit
    with matplotlib.rc_context({**STYLE, "font.size": 9}):
        figure = Figure(figsize=(3.5, 1.95))  # margins set by hand: 24 constrained layouts take seconds
        axes = figure.add_axes((0.12, 0.12, 0.86, 0.84))
        axes.stairs(np.where(inside, counts, 0), edges, fill=True, color=BLUE)
        axes.stairs(np.where(inside, 0, counts), edges, fill=True, color=RED)
        axes.set_yscale("log")
        axes.set_ylim(0.6, 4 * counts.max())
        axes.yaxis.set_major_locator(LogLocator(numticks=4))
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.minorticks_off()
        for side in (-activation.limit, activation.limit):
            if edges[0] < side < edges[-1] * 1.02:
                axes.axvline(side, color="black", linewidth=1.2, linestyle=(0, (4, 2)))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        return as_svg(figure)


def rebinned(histogram: Histogram, bars: int = _BARS) -> tuple[F64, F64]:
    """Return edges (n + 1) and counts (n) of at most ``bars`` bins, over the part of the histogram that holds values."""
    counts = histogram.counts.astype(np.float64)
    filled = np.flatnonzero(counts)
    first, last = int(filled[0]), int(filled[-1]) + 1
    width = -(-(last - first) // bars)
    number = -(-(last - first) // width)
    padded = np.zeros(number * width)
    padded[: last - first] = counts[first:last]
    step = 2 * histogram.reach / len(counts)
    edges = -histogram.reach + step * (first + width * np.arange(number + 1, dtype=np.float64))
    return edges, padded.reshape(number, width).sum(axis=1)


def _text(activation: Clipped) -> str:
    readers = ", ".join(activation.readers)
    seen = f"{activation.histogram.lowest:.3g} to {activation.histogram.highest:.3g}"
    cut = f"{100 * activation.share:.2g} % beyond" if activation.share else "none beyond"
    return f"read by {readers}; seen {seen}, INT8 keeps up to {activation.limit:.3g}, {cut}"


def _label(block: str, macs: float, given_back: bool) -> str:
    share = "< 0.1 %" if macs < 0.001 else f"{100 * macs:.1f} %"
    return f"{_short(block)} ({share}{', back in FP16' if given_back else ''})"


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # not -0.00


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"...{name[3 - _LETTERS :].lstrip('.')}"
