"""The comparison with peers in words: tables and drawings for the terminal and the report."""

from __future__ import annotations

from dataclasses import asdict

from jetspect.benchmarks.bars import Bars
from jetspect.benchmarks.history import Record, Row, Series, make_record
from jetspect.benchmarks.page import Table
from jetspect.benchmarks.peers.correctness import Correctness
from jetspect.benchmarks.peers.run import Lap, PeerResult, Trial

ROLES = {
    "ours": "this project",
    "limit": "nobody can be faster with these tiles",
    "as good": "its fastest setting with an answer as good",
    "best answer": "its best answer; none is as good",
    "fastest": "its fastest setting, whatever it answers",
}


def tables(result: PeerResult) -> list[Table]:
    """Return speed on the large frame, and the answers of every setting that was tried."""
    size, small = result.options.size_wh, result.options.reference_wh
    speed = Table(
        f"Speed on a frame of {size[0]} x {size[1]} px",
        ("", "what it is", "tiles", "median", "time / jetspect's", "outside the engine"),
        [_lap(lap) for lap in result.laps],
        text=f"Time to the score map, {result.options.rounds} rounds in turn. A ratio above 1 took longer than this project; "
        "in brackets its 95 % interval.",
    )
    answers = Table(
        f"Answers on {result.options.reference_frames} frames of {small[0]} x {small[1]} px",
        ("", "tiles", "median", "wrong px", "IoU", "split", "missed", "invented", "as good"),
        [_trial(t) for t in result.trials],
        text="Beside the whole frame in one run. Wrong pixels differ by more than rounding; IoU is of the defects' pixels; "
        "small is below 32 x 32 px. "
        "As good: no more defects missed or split than jetspect's, and an IoU at most 0.01 lower.",
    )
    return [speed, answers]


def bars(result: PeerResult) -> list[Bars]:
    """Draw the ratios."""
    ends = [None if x.ratio.low is None or x.ratio.high is None else (x.ratio.low, x.ratio.high) for x in result.laps]
    return [
        Bars(
            "How long each takes",
            "Times jetspect's time, with 95 % intervals; the dashed line is jetspect.",
            "time / jetspect's",
            [_name(x) for x in result.laps],
            [x.ratio.value for x in result.laps],
            ends,
            mark=1.0,
        )
    ]


def as_record(result: PeerResult, name: str) -> Record:
    """Return the line of history."""
    width, height = result.options.size_wh
    what = f"{name} on {width} x {height}, {result.engine}, tiles of {result.tile_px} px"
    wrong = {(t.peer, t.settings): t.correctness for t in result.trials}
    rows = []
    for lap in (x for x in result.laps if x.role in ("ours", "as good", "best answer")):
        if lap.role == "ours":
            measured = f"{lap.median_ms:.0f} ms a frame, {lap.outside_engine:.1%} outside the engine"
        else:
            measured = f"{lap.ratio} of jetspect's time"
        if (found := wrong.get((lap.peer, lap.settings))) is not None:
            measured += (
                f"; {found.seam_px / found.pixels:.2%} wrong pixels, {found.split} of {found.defects} defects split"
            )
        rows.append(Row(what=f"{what}: {_name(lap)} ({ROLES[lap.role]})", measured=measured))
    keys = tuple(f"round {number}" for number in range(result.options.rounds))
    series = [
        Series(name=f"{what}, {_name(x)}, {x.role}", unit="ms", samples=x.times_ms, keys=keys) for x in result.laps
    ]
    return make_record("peers", series, rows=rows, result=asdict(result))


def _name(of: Lap | Trial) -> str:
    return f"{of.peer}, {of.settings}" if of.settings else of.peer


def _lap(lap: Lap) -> tuple[str, ...]:
    ratio = "" if lap.role == "ours" else str(lap.ratio)
    outside = "" if lap.role == "limit" else f"{lap.outside_engine:.1%}"
    return _name(lap), ROLES[lap.role], str(lap.tiles), f"{lap.median_ms:.0f} ms", ratio, outside


def _trial(trial: Trial) -> tuple[str, ...]:
    a = trial.correctness
    good = "" if trial.peer == "jetspect" else ("yes" if trial.as_good else "no")
    return (
        _name(trial),
        str(trial.tiles),
        f"{trial.median_ms:.0f} ms",
        f"{a.seam_px} ({a.seam_px / a.pixels:.2%})",
        _iou(a),
        f"{a.split} of {a.defects}",
        f"{a.missed}, {a.missed_small} small",
        str(a.invented),
        good,
    )


def _iou(answer: Correctness) -> str:
    any_defect = answer.same.tp + answer.same.fp + answer.same.fn
    return f"{answer.same.iou:.4f}" if any_defect else "no defect"
