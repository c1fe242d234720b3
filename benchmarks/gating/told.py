"""Gating in words: the table and the drawing for the terminal and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from jetspect.benchmarks.bars import Bars
from jetspect.benchmarks.gating.run import FULL, GatingResult, GatingRow
from jetspect.benchmarks.history import Record, Row, Series, make_record
from jetspect.benchmarks.page import Table


def tables(result: GatingResult) -> list[Table]:
    """Return one row for every way at every cover."""
    width, height = result.options.size_wh
    return [
        Table(
            f"Looking at the part only, frames of {width} x {height} px, tiles of {result.tile_px} px",
            ("", "cover", "tiles", "frames/s", "speed-up", "missed", "other px on the part", "alarms off the part"),
            [_row(r) for r in result.rows],
            text=f"Whole inspections, {result.options.rounds} rounds in turn; a speed-up above 1 is faster than the full "
            f"scan, in brackets its 95 % interval. Missed: defects that the full scan finds on "
            f"{result.options.answer_frames} frames and this way does not. First stage: {result.stage_one}.",
        )
    ]


def bars(result: GatingResult) -> list[Bars]:
    """Draw the speed-ups."""
    rows = [r for r in result.rows if r.way != FULL]
    ends = [None if r.speedup.low is None or r.speedup.high is None else (r.speedup.low, r.speedup.high) for r in rows]
    names = [f"{r.way}, {r.cover:.0%}" for r in rows]
    text = "Frames/s divided by the full scan's, with 95 % intervals; the dashed line is the full scan."
    return [
        Bars("Speed-up by cover", text, "times the full scan", names, [r.speedup.value for r in rows], ends, mark=1.0)
    ]


def as_record(result: GatingResult, name: str) -> Record:
    """Return the line of history."""
    width, height = result.options.size_wh
    what = f"{name} on {width} x {height}, {result.engine}, tiles of {result.tile_px} px"
    rows = [
        Row(
            what=f"{what}: {r.way} at {r.cover:.0%} cover",
            measured=f"{r.speedup} of the full scan's frames/s; {r.missed} of {r.found} defects missed",
        )
        for r in result.rows
        if r.way != FULL
    ]
    series = [
        Series(name=f"{what}, {r.way} at {r.cover:.0%}", unit="ms", samples=r.times_ms, keys=_rounds(r.times_ms))
        for r in result.rows
    ]
    return make_record("gating", series, rows=rows, result=asdict(result))


def _rounds(samples: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"round {number}" for number in range(len(samples)))


def _row(row: GatingRow) -> tuple[str, ...]:
    return (
        row.way,
        f"{row.cover:.0%}",
        f"{row.tiles:.0f} of {row.tiles_all}",
        f"{row.frames_per_s:.3g}",
        "" if row.way == FULL else str(row.speedup),
        "" if row.way == FULL else f"{row.missed} of {row.found}",
        "" if row.way == FULL else str(row.changed_px),
        str(row.alarms_outside),
    )
