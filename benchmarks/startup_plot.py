"""The drawing of ``jetspect bench startup``."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from jetspect.benchmarks.startup import KINDS, TEXTS, Startup, medians
from jetspect.benchmarks.startup_watch import PHASES
from jetspect.evaluation.plots import STYLE, Plot, as_svg

_COLOURS = ("#8a949c", "#e69f00", "#56b4e9", "#0072b2", "#009e73", "#f0e442", "#d55e00", "#cc79a7")


def draw(starts: Sequence[Startup]) -> Plot:
    """Draw the phases one after the other, as they mostly are."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.5, 3.4), layout="constrained")
        axes = figure.subplots()
        left = [0.0] * len(KINDS)
        for phase, colour in zip(PHASES, _COLOURS, strict=True):
            width = [medians(starts, kind)[phase] for kind in KINDS]
            axes.barh(KINDS, width, left=left, color=colour, label=TEXTS[phase], height=0.55)
            left = [a + b for a, b in zip(left, width, strict=True)]
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel("ms after the start of the process (medians)")
        figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=4)
        return Plot("Where the time goes until the first verdict", "", as_svg(figure))
