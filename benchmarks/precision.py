"""How fast each graph of a bundle runs on this machine, on the same tile and in one run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from jetspect.calibration.speed import Latency, compare
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.manifest import Precision
from jetspect.runtime.scoring import gather
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.tiling import Cut, Tile


@dataclass(frozen=True)
class PrecisionRow:
    """One graph: its latency, and how many times faster than FP32 it ran in the same run."""

    precision: Precision
    engine: str
    latency: Latency
    speedup: float


def compare_precisions(
    bundle: Bundle,
    precisions: Sequence[Precision] = (),
    *,
    tile_px: int | None = None,
    runs: int = 30,
    threads: int = 0,
) -> list[PrecisionRow]:
    """Time graphs of a bundle on one rendered tile, each in turn; FP32 always is among them.

    Raises
    ------
    InputError
        A tile that is no multiple of the stride.
    EngineError
        The bundle has no such graph.
    """
    manifest = bundle.manifest
    stride, tiling = manifest.tiling.stride_px, manifest.tiling
    width, height = tiling.frame_wh or (tile_px or tiling.tile_px,) * 2
    if tile_px is not None and tiling.frame_wh is not None:
        raise InputError(f"{manifest.name} sees whole frames of {width} x {height} px; leave --tile out")
    if width % stride or height % stride:
        raise InputError(
            f"tiles of {tile_px} px are no multiple of the model's stride of {stride} px; choose another --tile"
        )
    tile = np.empty((1, height, width, manifest.input.channels), np.uint8)
    gather(render_part(7, (width, height)).image, Tile(Cut(0, 0, 0), Cut(0, 0, 0)), tile[0])
    wanted = tuple(dict.fromkeys(("fp32", *(precisions or manifest.graphs))))
    with ExitStack() as stack:
        engines = {p: stack.enter_context(open_engine(bundle, precision=p, threads=threads)[0]) for p in wanted}
        spent = compare(engines, tile, runs=runs)
        slow = spent["fp32"].median_ms
        return [PrecisionRow(p, str(engines[p].info), spent[p], slow / spent[p].median_ms) for p in wanted]
