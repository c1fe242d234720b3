"""Bars with intervals for the page of a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jetspect.evaluation.plots import Plot


@dataclass(frozen=True)
class Bars:
    """One drawing: a bar with its interval for each name; ``mark`` is a line to compare with."""

    title: str
    text: str
    unit: str
    names: Sequence[str]
    values: Sequence[float]
    intervals: Sequence[tuple[float, float] | None]
    mark: float | None = None


def draw(bars: Bars) -> Plot:
    import matplotlib
    from matplotlib.figure import Figure

    from jetspect.evaluation.plots import BLUE, GREY, STYLE, Plot, as_svg

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 0.8 + 0.38 * len(bars.names)), layout="constrained")
        axes = figure.subplots()
        places = range(len(bars.names))
        axes.barh(places, bars.values, color=BLUE, height=0.62)
        for place, value, ends in zip(places, bars.values, bars.intervals, strict=True):
            if ends is not None:
                reach = [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
                axes.errorbar([value], [place], xerr=reach, color="black", capsize=3, linewidth=1)
        if bars.mark is not None:
            axes.axvline(bars.mark, color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks(places, bars.names)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel(bars.unit)
        return Plot(bars.title, bars.text, as_svg(figure))
