"""Which of the measured points is worth taking: the Pareto set, and one setting to paste into a station file."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from jetspect.benchmarks.tile_points import Measured

_ALIKE = 1.03  # times that differ less are called equal; then less memory wins
_LOST_IOU, _LOST_RECALL = 0.005, 0.0  # what a faster point may lose against the best


@dataclass(frozen=True)
class Choice:
    """The recommended point, why it was taken, and its lines in a station file."""

    point: Measured
    reason: str
    toml: str


def pareto(measured: Sequence[Measured]) -> list[Measured]:
    """Return the points that no other one beats: in time and memory, and in accuracy where all were measured for it."""
    costs = [_costs(m, accuracy=_judged(measured)) for m in measured]
    return [m for m, mine in zip(measured, costs, strict=True) if not any(_beats(other, mine) for other in costs)]


def recommend(measured: Sequence[Measured]) -> Choice | None:
    """Return the fastest point that keeps accuracy, and of equally fast ones that with the least memory.

    Without labelled images nothing is known of what a precision costs, so FP32 is taken wherever it was measured.
    """
    if not measured:
        return None
    if _judged(measured):
        candidates = [m for m in measured if _keeps(m, measured)]
        reason = "the fastest that finds as many defects as the best, and loses at most 0.005 IoU"
    else:
        candidates = [m for m in measured if m.point.precision == "fp32"] or list(measured)
        reason = "the fastest"
        if len({m.point.precision for m in measured}) > 1 and candidates[0].point.precision == "fp32":
            reason += " in FP32; give --dataset to weigh what other precisions lose"
    best_ms = min(p50_ms(m) for m in candidates)
    alike = [m for m in candidates if p50_ms(m) <= _ALIKE * best_ms]
    chosen = min(alike, key=lambda m: (m.memory_mb, p50_ms(m)))
    if len(alike) > 1:
        reason += f"; of {len(alike)} points within 3 % of it the one with the least memory"
    return Choice(chosen, reason, station_lines(chosen))


def station_lines(measured: Measured) -> str:
    """Return the keys of a station file that run this point."""
    point = measured.point
    return (
        f'[bundle]\nprecision = "{point.precision}"\n\n[engine]\nkind = "{point.engine}"\n\n'
        f"[tiling]\ntile_px = {point.tile_px}\nbatch = {point.batch}\n"
    )


def p50_ms(measured: Measured) -> float:
    return statistics.median(measured.stages_ms["total"])


def _judged(measured: Sequence[Measured]) -> bool:
    return all(m.accuracy is not None for m in measured)


def _keeps(m: Measured, measured: Sequence[Measured]) -> bool:
    best = [max(values) for values in zip(*(_accuracy(other) for other in measured), strict=True)]
    iou, recall = _accuracy(m)
    return bool(iou >= best[0] - _LOST_IOU and recall >= best[1] - _LOST_RECALL)


def _accuracy(m: Measured) -> tuple[float, float]:
    if m.accuracy is None:
        return 0.0, 0.0
    return m.accuracy.iou or 0.0, m.accuracy.object_recall or 0.0


def _costs(m: Measured, *, accuracy: bool) -> tuple[float, ...]:
    lost = tuple(-value for value in _accuracy(m)) if accuracy else ()
    return (p50_ms(m), m.memory_mb, *lost)


def _beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
