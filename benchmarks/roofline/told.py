"""The roofline and the plan in words: tables for the terminal and the report."""

from __future__ import annotations

from dataclasses import asdict

from jetspect.benchmarks.history import Record, Row, Series, make_record
from jetspect.benchmarks.page import Table
from jetspect.benchmarks.roofline.run import ModelResult, Prediction, StageLimit

ASSUMPTION = (
    "tiles/s of another tile = measured tiles/s x multiplications of the measured tile / multiplications of the other. It "
    "holds while the engine reaches the same share of its peak at both sizes, and while a run is long beside its start: small "
    "tiles on a GPU are slower than this says, larger batches of them faster"
)


def tables(result: ModelResult) -> list[Table]:
    """Return the stages beside their limits, and what was predicted."""
    width, height = result.options.size_wh
    stages = Table(
        f"A frame of {width} x {height} px, {result.tiles} tiles of {result.tile_px} px",
        ("stage", "MB moved", "G multiplications", "at least", "measured", "of the limit"),
        [_stage(s) for s in result.stages],
        text=f"Limits: one core copies {result.copy_bytes_per_s / 1e9:.1f} GB/s, the engine multiplies "
        f"{result.peak_macs_per_s / 1e9:.1f} G/s in large products. A tile has {result.tile.macs / 1e9:.2f} G multiplications.",
    )
    tile, batch = result.measured_point
    plan = Table(
        f"Tiles/s predicted from {tile} px, batch {batch} ({result.measured_per_s:.2f}/s)",
        ("tile", "batch", "predicted", "measured", "off by"),
        [_plan(p) for p in result.predictions],
        text=f"Assumed: {ASSUMPTION}.",
    )
    return [stages, plan]


def as_record(result: ModelResult, name: str) -> Record:
    """Return the line of history."""
    width, height = result.options.size_wh
    what = f"{name} on {width} x {height}, {result.engine}, tiles of {result.tile_px} px"
    shares = [f"{s.name} {s.limit_ms / s.measured_ms:.0%}" for s in result.stages if s.limit_ms and s.measured_ms]
    rows = [Row(what=f"{what}: share of what the machine could do at best", measured=", ".join(shares))]
    rows += [
        Row(
            what=f"{name}, {p.tile_px} px x {p.batch} predicted from {result.measured_point[0]} px",
            measured=f"{p.predicted_per_s:.2f} tiles/s, measured {p.measured_per_s:.2f}: off by {p.off:+.0%}",
        )
        for p in result.predictions
    ]
    series = [Series(name=f"{what}, {s.name}", unit="ms", samples=(s.measured_ms,)) for s in result.stages]
    told = {**asdict(result), "off": [p.off for p in result.predictions], "assumption": ASSUMPTION}
    return make_record("model", series, rows=rows, result=told)


def _stage(stage: StageLimit) -> tuple[str, ...]:
    known = stage.limit_ms is not None
    share = f"{stage.limit_ms / stage.measured_ms:.0%}" if stage.limit_ms is not None and stage.measured_ms else ""
    return (
        stage.name,
        f"{stage.moved_bytes / 1e6:.0f}" if known else "by what is found",
        f"{stage.macs / 1e9:.1f}" if stage.macs else "",
        f"{stage.limit_ms:.1f} ms" if known else "",
        f"{stage.measured_ms:.1f} ms",
        share,
    )


def _plan(plan: Prediction) -> tuple[str, ...]:
    return (
        f"{plan.tile_px} px",
        str(plan.batch),
        f"{plan.predicted_per_s:.2f}/s",
        f"{plan.measured_per_s:.2f}/s",
        f"{plan.off:+.0%}",
    )
