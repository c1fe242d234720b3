"""Each stage of an inspection beside the least time it could take here, and other tiles predicted from one point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from jetspect.benchmarks.interleave import interleave
from jetspect.benchmarks.roofline.machine import copy_bandwidth, peak_macs
from jetspect.benchmarks.roofline.work import Work, work_of
from jetspect.device.probe import probe
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.manifest import Precision
from jetspect.runtime.publishing.describing import timings_ms
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.tiling import TileGrid, plan_tiles

Told = Callable[[str], object]
Point = tuple[int, int]
"""Tile edge in px, and tiles per run."""


@dataclass(frozen=True)
class ModelOptions:
    """What is measured; ``points`` are predicted from the first one, tile and batch of the station."""

    size_wh: tuple[int, int] = (5472, 3648)
    tile_px: int | None = None
    points: tuple[Point, ...] = ()
    frames: int = 3
    rounds: int = 5
    seed: int = 7


@dataclass(frozen=True)
class StageLimit:
    """One stage of one frame; ``limit_ms`` is None where the work depends on what is found."""

    name: str
    moved_bytes: int
    macs: int
    limit_ms: float | None
    measured_ms: float


@dataclass(frozen=True)
class Prediction:
    """Tiles/s of another tile or batch; ``off`` is how far the prediction was, 0.1 for 10 % too fast."""

    tile_px: int
    batch: int
    predicted_per_s: float
    measured_per_s: float

    @property
    def off(self) -> float:
        return self.predicted_per_s / self.measured_per_s - 1


@dataclass(frozen=True)
class ModelResult:
    """Everything measured; ``tile`` is the work of one run of one tile."""

    engine: str
    tile_px: int
    tiles: int
    copy_bytes_per_s: float
    peak_macs_per_s: float
    tile: Work
    stages: tuple[StageLimit, ...]
    measured_point: Point
    measured_per_s: float
    predictions: tuple[Prediction, ...]
    options: ModelOptions


def check_options(bundle: Bundle, options: ModelOptions) -> TileGrid:
    """Refuse what cannot work before anything runs; return the frame's tiles.

    Raises
    ------
    InputError
        A model that is not tiled, a wrong tile or batch, no frame.
    """
    rules = bundle.manifest.tiling
    if rules.mode == "whole":
        raise InputError(
            f"bundle {bundle.manifest.name} sees whole frames, so there is no tile to plan; use one that is tiled"
        )
    if options.frames < 1 or options.rounds < 1:
        raise InputError(f"1 frame and 1 round is the least, got {options.frames} and {options.rounds}")
    for tile, batch in options.points:
        plan_tiles((tile, tile), tile_px=tile, halo_px=rules.halo_px, stride_px=rules.stride_px)
        if not 1 <= batch <= 64:
            raise InputError(f"a batch is 1 to 64 tiles, got {batch}")
    return plan_tiles(
        (options.size_wh[1], options.size_wh[0]),
        tile_px=options.tile_px or rules.tile_px,
        halo_px=rules.halo_px,
        stride_px=rules.stride_px,
    )


def bench_model(
    bundle: Bundle,
    precision: Precision,
    engine: Engine,
    gemm: Engine,
    options: ModelOptions,
    told: Told = lambda _: None,
) -> ModelResult:
    """Measure on one engine, and on another one of its kind that runs large products; both stay open.

    Errors as :func:`check_options` and :func:`~jetspect.benchmarks.roofline.work.work_of`.
    """
    grid = check_options(bundle, options)
    second = engine.defects if isinstance(engine, StagedEngine) else engine
    channels = bundle.manifest.input.channels
    edge = options.tile_px or bundle.manifest.tiling.tile_px

    def work(point: Point) -> Work:
        return work_of(bundle.graph(precision), (point[1], point[0], point[0], channels))

    tile = work_of(bundle.graph(precision), (1, *grid.tile_hw, channels))
    first: Point = (edge, 1)
    points = tuple(dict.fromkeys((first, *options.points)))
    each = {p: work(p) for p in points}
    for point, needs in each.items():
        _check_memory(point, needs)
    told("copying")
    bandwidth = copy_bandwidth()
    told("multiplying")
    peak = peak_macs(gemm)
    measured = _frames(bundle, engine, options, told)
    per_s = _rates(second, points, channels, options, told)
    rate = per_s[first] * each[first].macs
    return ModelResult(
        engine=str(engine.info),
        tile_px=edge,
        tiles=len(grid.tiles),
        copy_bytes_per_s=bandwidth,
        peak_macs_per_s=peak,
        tile=tile,
        stages=_stages(bundle, grid, tile, bandwidth, peak, measured),
        measured_point=first,
        measured_per_s=per_s[first],
        predictions=tuple(Prediction(p[0], p[1], rate / (each[p].macs / p[1]), per_s[p]) for p in points if p != first),
        options=options,
    )


def _check_memory(point: Point, work: Work) -> None:
    have = probe().memory_mb
    if have and work.held_bytes / 1e6 > have:
        raise InputError(
            f"{point[1]} tiles of {point[0]} px need {work.held_bytes / 1e9:.0f} GB in one step of the network, this machine "
            f"has {have / 1e3:.0f} GB; plan smaller tiles or batches"
        )


def _frames(bundle: Bundle, engine: Engine, options: ModelOptions, told: Told) -> list[dict[str, float]]:
    inspector = Inspector(bundle, engine, InspectorSettings(tiling=TilingSettings(tile_px=options.tile_px)))
    timings = []
    for n in range(options.frames + 1):
        image = render_part(options.seed + n, options.size_wh).image
        seen = inspector.inspect(Frame(image, f"frame-{n}"))
        told("inspecting frames")
        if n:
            timings.append(timings_ms(seen))
    return timings


def _rates(
    engine: Engine, points: Sequence[Point], channels: int, options: ModelOptions, told: Told
) -> dict[Point, float]:
    """Return tiles/s of every point, measured in turn."""
    rng = np.random.default_rng(options.seed)
    tiles = {p: rng.integers(0, 256, (p[1], p[0], p[0], channels), dtype=np.uint8) for p in points}
    ways = {str(p): (lambda _, p=p: engine.run(tiles[p])) for p in points}
    spent = interleave(ways, range(options.rounds + 1), seed=options.seed, told=lambda: told("trying tiles"))
    return {p: p[1] / (median(spent[str(p)]) / 1e3) for p in points}


def _stages(
    bundle: Bundle,
    grid: TileGrid,
    tile: Work,
    bandwidth: float,
    peak: float,
    measured: list[dict[str, float]],
) -> tuple[StageLimit, ...]:
    height, width = grid.frame_hw
    count, channels, classes = len(grid.tiles), bundle.manifest.input.channels, len(bundle.manifest.output.classes)
    cores = classes * height * width
    # Read and written once each; checks read every fourth row.
    moved = {
        "checks": height // 4 * width * 3,
        "gather": 2 * count * grid.tile_hw[0] * grid.tile_hw[1] * channels,
        "engine": count * tile.border_bytes,
        "scatter": 2 * cores,
    }
    rows = []
    for name in ("checks", "gather", "engine", "scatter", "postprocess"):
        macs = count * tile.macs if name == "engine" else 0
        limit = max(moved[name] / bandwidth, macs / peak) * 1e3 if name in moved else None
        rows.append(StageLimit(name, moved.get(name, 0), macs, limit, median(t[name] for t in measured)))
    return tuple(rows)
