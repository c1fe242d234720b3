"""Look for the plan that keeps the defects at the least cost: ranges, blocks, scales of concatenations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from jetspect.calibration.judge import Quality
from jetspect.calibration.network import Weighted
from jetspect.calibration.quantize import Plan, quantised_activations
from jetspect.calibration.ranges import METHODS, Histogram, Method, measure_ranges
from jetspect.calibration.sensitivity import BlockLoss, Budget, Trial, blocks_of, restore, share_concats

# One scale for a concatenation may cost this share of what may be lost in all.
SHARED_TOLERANCE = 0.1
SHIFTS = tuple(range(-24, 25, 4))
LEAST_GAIN = 0.001


@dataclass(frozen=True)
class Found:
    """A plan, how it came about, and what it reaches on the judge's tiles.

    Attributes
    ----------
    methods
        What each method reaches with all blocks in INT8.
    losses
        What each block alone loses.
    given_back
        Blocks that stay in FP16 because they lose too much.
    shared
        For every concatenation, whether its inputs take one scale.
    threshold_shift
        Steps of 1/255 that the thresholds are moved by for INT8.
    """

    plan: Plan
    quality: Quality
    method: Method
    methods: Mapping[Method, Quality]
    losses: tuple[BlockLoss, ...]
    given_back: tuple[str, ...]
    shared: Mapping[str, bool]
    threshold_shift: int = 0


def search(
    trial: Trial,
    convolutions: tuple[Weighted, ...],
    histograms: Mapping[str, Histogram],
    budget: Budget,
    *,
    method: Method | Literal["auto"] = "auto",
) -> Found:
    """Choose the method by what it loses on the tiles, give back blocks until the budget holds, decide on shared scales."""
    nodes = frozenset(c.name for c in convolutions if not c.keep)
    needed = {t: histograms[t] for t in quantised_activations(trial.network, nodes)}
    plans = {m: Plan(nodes, measure_ranges(needed, m)) for m in (METHODS if method == "auto" else (method,))}
    methods = {m: trial.quality(plan, f"ranges by {m}") for m, plan in plans.items()}
    best = max(methods, key=lambda m: _rank(trial.fp32, methods[m]))
    losses = trial.ablate(plans[best], blocks_of(convolutions, nodes))
    plan, quality, given_back = restore(trial, plans[best], losses, budget)
    plan, quality, shared = share_concats(trial, plan, quality, SHARED_TOLERANCE * budget.iou)
    shift = fit_shift(trial, plan, quality)
    if shift:
        quality = trial.quality_by_shift(plan, (shift,))[shift]
    return Found(plan, quality, best, methods, losses, given_back, shared, shift)


def fit_shift(trial: Trial, plan: Plan, quality: Quality) -> int:
    """Return by how many steps of 1/255 moving the thresholds makes good what INT8 loses; 0 where it loses next to nothing.

    A shift is taken only where it wins back at least a thousandth of IoU and loses no defect: thresholds are not to be tuned
    on the tiles for more than FP32 reaches.
    """
    if trial.fp32.lost_by(quality) <= LEAST_GAIN:
        return 0
    tried = {
        shift: got
        for shift, got in trial.quality_by_shift(plan, [s for s in SHIFTS if trial.judge.can_shift(s)]).items()
        if got.recall >= quality.recall
        and got.small_recall >= quality.small_recall
        and got.false_tiles <= quality.false_tiles
    }
    best = min(tried, key=lambda s: (trial.fp32.lost_by(tried[s]), abs(s)))
    return best if trial.fp32.lost_by(quality) - trial.fp32.lost_by(tried[best]) >= LEAST_GAIN else 0


def give_back_one_more(trial: Trial, found: Found, budget: Budget) -> Found | None:
    """Return what is found with one more block in FP16, the one with the largest error of its scores.

    For when whole images say no where tiles said yes. None where too little would stay in INT8.
    """
    work = sum(b.macs for b in found.losses if b.block not in found.given_back)
    fitting = [b for b in found.losses if b.block not in found.given_back and work - b.macs >= budget.least_int8]
    if not fitting:
        return None
    block = max(fitting, key=lambda b: b.quality.error_levels)
    plan = found.plan.without(block.nodes)
    # What is found keeps its thresholds, so they are what it is judged with.
    quality = trial.quality_by_shift(plan, (found.threshold_shift,))[found.threshold_shift]
    return replace(found, plan=plan, quality=quality, given_back=(*found.given_back, block.block))


def _rank(fp32: Quality, got: Quality) -> float:
    """What is lost counts, what is won by chance does not; the error of the scores decides between equals."""
    return -fp32.lost_by(got) - 1e-3 * got.error_levels
