"""Whole images have the last word on a plan; where they say no, more of it goes back to FP16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jetspect.calibration.coverage import Chosen
from jetspect.calibration.gate import Row, measure, measure_engine
from jetspect.calibration.graphs import Graphs, make_graphs
from jetspect.calibration.network import Weighted
from jetspect.calibration.options import CalibrateOptions
from jetspect.calibration.ranges import Histogram, Method, measure_ranges
from jetspect.calibration.recipe import int8_share, make_recipes
from jetspect.calibration.search import Found, give_back_one_more
from jetspect.calibration.sensitivity import Budget, Trial
from jetspect.calibration.trt8 import Trt8Step, transposed_nodes
from jetspect.calibration.update import draft_bundle
from jetspect.evaluation.datasets.base import DataSet
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.manifest import Precision

Progress = Callable[[str, int, int], None]
# Whole images may say no this often before the gate does.
ROUNDS = 4


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays the same from round to round."""

    bundle: Bundle
    options: CalibrateOptions
    images: DataSet
    trial: Trial
    convolutions: tuple[Weighted, ...]
    chosen: Chosen
    histograms: Mapping[str, Histogram]
    progress: Progress = lambda *_: None

    @property
    def budget(self) -> Budget:
        limits = self.options.limits
        return Budget(limits.max_iou_drop, limits.max_recall_drop, self.options.least_int8)


@dataclass(frozen=True, eq=False)
class Settled:
    """The last plan that was tried on whole images, what came of it, and why the gate says no; no faults where it says yes.

    Attributes
    ----------
    trt8
        The forms of the graph for TensorRT 8.6 that were tried, in order; none where the int8 graph itself failed.
    """

    found: Found
    graphs: Graphs
    ranges: Mapping[str, tuple[float, float]]
    recipes: Mapping[Precision, Mapping[str, Any]]
    draft: Bundle
    rows: tuple[Row, ...]
    faults: tuple[str, ...]
    trt8: tuple[Trt8Step, ...] = ()


def settle(setting: Setting, found: Found, torch: Engine | None = None) -> Settled:
    """Judge a plan on whole images, with one more block in FP16 until they say yes or too little would stay in INT8.

    ``torch``, the PyTorch model, joins the table and is closed.
    """
    kept: list[Precision] = [p for p in ("fp32", "fp16") if p in setting.bundle.manifest.graphs]
    fixed = measure(setting.bundle, setting.images, kept, setting.progress)
    if torch is not None:
        fixed.append(measure_engine(setting.bundle, torch, setting.images, "pytorch", progress=setting.progress))
    settled = _try(setting, found, fixed)
    for _ in range(ROUNDS - 1):
        another = give_back_one_more(setting.trial, settled.found, setting.budget) if settled.faults else None
        if another is None:
            break
        settled = _try(setting, another, fixed)
    return settled if settled.faults else _settle_trt8(setting, settled)


def _try(setting: Setting, found: Found, fixed: list[Row]) -> Settled:
    ranges = _every_range(setting.histograms, found.method)
    graphs = make_graphs(setting.bundle.graph("fp32"), found.plan, ranges, setting.trial.judge.tiles[:1])
    recipes = make_recipes(setting.options, setting.chosen, found, setting.convolutions, graphs)
    draft = draft_bundle(setting.bundle, graphs, setting.trial.judge, recipes, found.threshold_shift)
    rows = (*fixed, *measure(draft, setting.images, tuple(graphs.data), setting.progress))
    faults = setting.options.limits.faults(rows[0], next(r for r in rows if r.name == "int8"))
    return Settled(found, graphs, ranges, recipes, draft, rows, faults)


def _settle_trt8(setting: Setting, settled: Settled) -> Settled:
    """Try the graph for TensorRT 8.6 as it is, then with transposed convolutions in FP16; what was tried is recorded."""
    plan, limits = settled.found.plan, setting.options.limits
    transposed = transposed_nodes(setting.trial.network, plan)
    (row,) = (r for r in settled.rows if r.name == "int8-trt8")
    first = Trt8Step(
        "one scale" if transposed else "none",
        int8_share(setting.convolutions, plan.nodes),
        limits.faults(settled.rows[0], row),
        row.accuracy,
    )
    if not first.faults or not transposed:
        return replace(settled, trt8=(first,))
    without = plan.without(transposed)
    share = int8_share(setting.convolutions, without.nodes)
    if share < setting.options.least_int8:
        fault = f"{share:.1%} of the multiply-adds would be INT8, {setting.options.least_int8:.1%} are asked"
        return replace(settled, trt8=(first, Trt8Step("fp16", share, (fault,), {})))
    graphs = settled.graphs.with_trt8(setting.bundle.graph("fp32"), without)
    recipes = make_recipes(setting.options, setting.chosen, settled.found, setting.convolutions, graphs)
    draft = draft_bundle(setting.bundle, graphs, setting.trial.judge, recipes, settled.found.threshold_shift)
    (row,) = measure(draft, setting.images, ("int8-trt8",), setting.progress)
    second = Trt8Step("fp16", share, limits.faults(settled.rows[0], row), row.accuracy)
    rows = tuple(row if r.name == row.name else r for r in settled.rows)
    return replace(settled, graphs=graphs, recipes=recipes, draft=draft, rows=rows, trt8=(first, second))


def _every_range(histograms: Mapping[str, Histogram], method: Method) -> dict[str, tuple[float, float]]:
    """Return the ranges of all activations; what TensorRT needs was checked before, elsewhere a constant is no fault."""
    living = {t: h for t, h in histograms.items() if h.highest > h.lowest}
    constant = {t: (min(h.lowest, 0.0), max(h.highest, 1e-3)) for t, h in histograms.items() if t not in living}
    return {**measure_ranges(living, method), **constant}
