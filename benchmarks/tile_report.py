"""What ``jetspect bench tiles`` says of its points: a line of history, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jetspect.benchmarks.history import Record, Row, Series, make_record, thin
from jetspect.benchmarks.page import Page, Table
from jetspect.benchmarks.tile_choice import Choice, pareto
from jetspect.benchmarks.tile_points import Measured
from jetspect.benchmarks.tile_sweep import Sweep

HEAD = (
    "tile",
    "batch",
    "precision",
    "engine",
    "p50",
    "p90",
    "p99",
    "MP/s",
    "outside",
    "tiles",
    "x pixels",
    "memory",
    "first",
    "build",
)


def as_dict(m: Measured) -> dict[str, Any]:
    """Return a point as plain data: percentiles of every stage, and what is made of them."""
    quantiles = {name: np.percentile(values, (50, 90, 99)) for name, values in m.stages_ms.items()}
    return {
        **m.point.model_dump(),
        "ran": m.engine,
        "frames": len(m.stages_ms["total"]),
        "tiles": m.tiles,
        "pixel_factor": m.pixel_factor,
        "mp_per_s": m.mp_per_s,
        "outside_engine": m.outside_engine,
        "stages": {
            name: {"p50_ms": float(q[0]), "p90_ms": float(q[1]), "p99_ms": float(q[2])} for name, q in quantiles.items()
        },
        "build_ms": m.build_ms,
        "first_frame_ms": m.first_frame_ms,
        "host_peak_mb": m.host_peak_mb,
        "host_before_mb": m.host_before_mb,
        "device_mb": m.device_mb,
        "joules_per_mp": m.joules_per_mp,
        "load_average": m.load_average,
        "accuracy": None if m.accuracy is None else m.accuracy.model_dump(),
    }


def summarise(sweep: Sweep, choice: Choice | None) -> dict[str, Any]:
    best = {str(m.point) for m in pareto(sweep.measured)}
    return {
        "conditions": sweep.measured[0].conditions.model_dump(mode="json") if sweep.measured else {},
        "points": [{**as_dict(m), "pareto": str(m.point) in best} for m in sweep.measured],
        "failed": [{**point.model_dump(), "error": error} for point, error in sweep.failed],
        "recommended": None
        if choice is None
        else {**choice.point.point.model_dump(), "reason": choice.reason, "toml": choice.toml},
    }


def as_record(sweep: Sweep, choice: Choice | None) -> Record:
    """Return the line of history."""
    series = [Series(name=_name(m), unit="ms", samples=thin(m.stages_ms["total"])) for m in sweep.measured]
    rows = []
    if choice is not None:
        m = choice.point
        rows = [
            Row(
                what=f"{_name(m)} (recommended of {len(sweep.measured)} points)",
                measured=f"{m.mp_per_s:.1f} MP/s, outside the engine {100 * m.outside_engine:.1f} %, peak memory "
                f"{m.memory_mb:.0f} MB",
            )
        ]
    return make_record("tiles", series, rows=rows, result=summarise(sweep, choice))


def _name(m: Measured) -> str:
    width, height = m.conditions.size_wh
    return f"{m.conditions.bundle}, {width} x {height}, {m.point}"


def row(m: Measured) -> list[str]:
    """Return a point as words, one for each of :data:`HEAD`, and accuracy where it was measured."""
    p50, p90, p99 = (float(q) for q in np.percentile(m.stages_ms["total"], (50, 90, 99)))
    words = [str(m.point.tile_px), str(m.point.batch), m.point.precision, m.point.engine]
    words += [_time(p50), _time(p90), _time(p99), f"{m.mp_per_s:.2f}", f"{100 * m.outside_engine:.1f} %", str(m.tiles)]
    words += [f"{m.pixel_factor:.2f}", f"{m.memory_mb:.0f} MB", _time(m.first_frame_ms), _time(m.build_ms)]
    if m.accuracy is not None:
        words += [_part(m.accuracy.iou), _part(m.accuracy.object_recall)]
    if m.joules_per_mp is not None:
        words.append(f"{m.joules_per_mp:.2f} J")
    return words


def brief(m: Measured) -> dict[str, str]:
    """Return what fits a terminal of 80 columns, by heading."""
    p50, p99 = (float(q) for q in np.percentile(m.stages_ms["total"], (50, 99)))
    words = {"": str(m.point), "p50": _time(p50), "p99": _time(p99), "MP/s": f"{m.mp_per_s:.2f}"}
    words |= {"outside": f"{100 * m.outside_engine:.1f} %", "memory": f"{m.memory_mb:.0f} MB"}
    if m.accuracy is not None:
        words |= {"IoU": _part(m.accuracy.iou), "found": _part(m.accuracy.object_recall)}
    return words


def head(measured: Sequence[Measured]) -> list[str]:
    judged = ["IoU", "defects found"] if any(m.accuracy is not None for m in measured) else []
    return [*HEAD, *judged, *(["J/MP"] if any(m.joules is not None for m in measured) else [])]


def make_page(sweep: Sweep, choice: Choice) -> Page:
    from jetspect.benchmarks.tile_plots import draw

    best, m = pareto(sweep.measured), choice.point
    places = frozenset(n for n, each in enumerate(sweep.measured) if each in best)
    conditions, frames = m.conditions, len(m.stages_ms["total"])
    width, height = conditions.size_wh
    stages = [
        [str(each.point), *(f"{float(np.median(each.stages_ms[name])):.1f}" for name in m.stages_ms)]
        for each in sweep.measured
    ]
    notes = [f"{point} could not be measured: {error}" for point, error in sweep.failed]
    if frames < 100:
        notes.append(f"{frames} frames at each point: p99 is close to the slowest one.")
    return Page(
        title=f"Tiles of {conditions.bundle}",
        lead=f"Frames of {width} x {height} px, {len(sweep.measured)} points, each in a process of its own.",
        numbers=[
            (f"{m.point.tile_px} px x {m.point.batch}", f"recommended tile and batch, {m.point.precision}"),
            (f"{m.mp_per_s:.1f}", "megapixels per second"),
            (_time(float(np.median(m.stages_ms["total"]))), "per frame (median)"),
            (f"{100 * m.outside_engine:.1f} %", "of the time outside the engine"),
            (f"{m.memory_mb:.0f} MB", "peak memory"),
            (f"{m.pixel_factor:.2f} x", "pixels through the network"),
        ],
        tables=[
            Table(
                "Points",
                head(sweep.measured),
                [row(each) for each in sweep.measured],
                places,
                "Marked: beaten by none in time and memory, nor in accuracy where it was measured. First: the first frame; "
                "build: opening and verifying the bundle, loading the engine, golden tiles.",
            ),
            Table("Median of each stage, ms", ["point", *m.stages_ms], stages, places),
        ],
        plots=draw(sweep.measured, best, m),
        notes=notes,
        code=choice.toml,
        code_title=f"For the station file: {choice.reason}",
    )


def _time(ms: float) -> str:
    return f"{ms / 1e3:.2f} s" if ms >= 1000 else f"{ms:.1f} ms"


def _part(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
