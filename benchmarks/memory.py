"""Memory of inspections in a row: how much beside the frame, its score map and the engine, and whether it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jetspect.benchmarks.history import Record, Row, Series, make_record, thin
from jetspect.benchmarks.process_memory import Usage, open_files, peak_mb, resident_mb, restart_peak, usage
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.manifest import Precision
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.sources.synthetic import render_part

SCENES = 3
MIN_FRAMES = 8


@dataclass(frozen=True)
class Subject:
    """What is measured: the graph ``precision`` of a bundle in the engine ``kind``, on frames of ``size_wh`` px."""

    bundle: Path
    size_wh: tuple[int, int]
    kind: str = "onnxruntime"
    precision: Precision = "fp32"
    tiling: TilingSettings = field(default_factory=TilingSettings)
    threads: int = 0


@dataclass(frozen=True)
class MemoryUse:
    """MB of 2^20 bytes.

    Attributes
    ----------
    engine_mb
        What opening the engine and its first runs took.
    peak_mb
        Beyond what the process held before that; frame, score map and engine are in it.
    """

    engine: str
    tile_px: int
    frame_mb: float
    score_map_mb: float
    engine_mb: float
    peak_mb: float
    frames: int
    samples_mb: tuple[float, ...]
    after: Usage

    @property
    def factor(self) -> float:
        """Peak over what no way of inspecting could do without."""
        return self.peak_mb / (self.frame_mb + self.score_map_mb + self.engine_mb)


def measure(subject: Subject, frames: int, on_frame: Callable[[], None] = lambda: None) -> MemoryUse:
    """Inspect so many frames, each a new array as from a camera, and look at this process' memory after each.

    The process should be a fresh one: freed memory that it holds already would hide what is taken.

    Raises
    ------
    InputError
        Fewer than 8 frames; as for opening the bundle and the engine.
    """
    if frames < MIN_FRAMES:
        raise InputError(f"growth shows over at least {MIN_FRAMES} frames, got {frames}")
    bundle = Bundle.open(subject.bundle)
    scenes = [render_part(number, subject.size_wh).image for number in range(1, SCENES + 1)]
    before = resident_mb()
    device = DeviceOptions(tile_px=subject.tiling.tile_px, batch=subject.tiling.batch)
    engine, _ = open_engine(
        bundle, kind=subject.kind, precision=subject.precision, threads=subject.threads, device=device
    )
    settings = InspectorSettings(tiling=subject.tiling)
    with Inspector(bundle, engine, settings) as inspector:
        tile = np.zeros((subject.tiling.batch, inspector.tile_px, inspector.tile_px, scenes[0].shape[2]), np.uint8)
        for _ in range(3):
            engine.run(tile)
        del tile
        loaded = resident_mb()
        restart_peak()
        samples = []
        for number in range(frames):
            frame = Frame(scenes[number % SCENES].copy(), f"frame-{number}")
            inspector.inspect(frame)
            del frame
            samples.append((resident_mb(), open_files()))
            on_frame()
        width, height = subject.size_wh
        return MemoryUse(
            engine=str(engine.info),
            tile_px=inspector.tile_px,
            frame_mb=scenes[0].nbytes / 2**20,
            score_map_mb=width * height * len(bundle.manifest.output.classes) / 2**20,
            engine_mb=loaded - before,
            peak_mb=peak_mb() - before,
            frames=frames,
            samples_mb=tuple(memory for memory, _ in samples),
            after=usage(samples),
        )


def as_record(use: MemoryUse, name: str, subject: Subject) -> Record:
    width, height = subject.size_wh
    early, late = use.after.memory_mb
    what = f"{name}, memory of {use.frames} frames of {width} x {height}, {use.engine}, tiles of {use.tile_px} px"
    measured = (
        f"peak {use.peak_mb:.0f} MB: {use.factor:.2f} times frame ({use.frame_mb:.0f}), score map ({use.score_map_mb:.0f}) "
        f"and engine ({use.engine_mb:.0f}); {early:.0f} MB in the second quarter, {late:.0f} MB in the last"
    )
    result = {
        "bundle": name,
        "engine": use.engine,
        "tile_px": use.tile_px,
        "size_wh": subject.size_wh,
        "frames": use.frames,
        "frame_mb": use.frame_mb,
        "score_map_mb": use.score_map_mb,
        "engine_mb": use.engine_mb,
        "peak_mb": use.peak_mb,
        "factor": use.factor,
        "resident_mb": {"second_quarter": early, "last_quarter": late},
        "open_files": {"second_quarter": use.after.files[0], "last_quarter": use.after.files[1]},
        "flat": use.after.flat,
    }
    series = Series(name=f"{name}, {use.engine}, resident after a frame", unit="MB", samples=thin(use.samples_mb))
    return make_record("memory", [series], rows=[Row(what=what, measured=measured)], result=result)
