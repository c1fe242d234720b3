"""Prove an engine on the golden tiles before it may judge a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.errors import EngineError, GoldenMismatchError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.manifest import GoldenTolerance, Precision, TilingContract
from jetspect.runtime.tiling import plan_tiles

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class GoldenReport:
    """How far an engine's scores are from the golden ones, in steps of 1/255; means are per tile.

    ``foreground`` is the report of stage one, where the bundle has two.
    """

    tiles: int
    max_levels: int
    mean_levels: float
    foreground: GoldenReport | None = None

    def __str__(self) -> str:
        said = f"{self.tiles} golden tiles reproduced within {self.max_levels} of 255 levels"
        if self.foreground is None:
            return said
        return f"{said}, stage one's {self.foreground.tiles} within {self.foreground.max_levels}"


def check_golden(
    engine: Engine, bundle: Bundle, precision: Precision, *, tile_px: int | None = None, batch: int = 1
) -> GoldenReport:
    """Run the golden tiles and compare with the answers in the bundle: those of FP32, or of an INT8 graph itself.

    Parameters
    ----------
    tile_px, batch
        The fixed tile edge and batch of an engine that is not ``dynamic``. Where its tile differs from the golden
        ones, each golden tile is cut like a frame of its size (or placed in the corner of a larger tile), and what
        lies within a halo of an edge that the answer does not have is left out.

    Raises
    ------
    GoldenMismatchError
        A tile differs by more than the tolerance that the bundle states for this precision; names the worst one.
    EngineError
        The engine answers in another shape, or its tiles cannot be compared with the golden ones.
    """
    golden, manifest = bundle.golden(precision), bundle.manifest
    edge = tile_px or manifest.golden.tile_px
    tolerance = manifest.graphs[precision].tolerance

    def answers(index: int) -> Iterator[tuple[U8, U8]]:
        yield from _answers(engine, golden.tiles[index], golden.scores[index], manifest.tiling, edge, batch)
        if golden.decisions is not None:
            _require_decision(engine, index, int(golden.decisions[index, 0]), tolerance.max_levels, batch)

    pairs = (answers(index) for index in range(len(golden.tiles)))
    return _judge(pairs, tolerance, engine, f"golden tiles of {manifest.name}")


def check_foreground(engine: Engine, bundle: Bundle, precision: Precision) -> GoldenReport:
    """Run stage one's golden tiles, one by one; errors as :func:`check_golden`."""
    golden, spec = bundle.foreground_golden(), bundle.manifest.foreground
    if spec is None:
        raise EngineError(f"{bundle.path} has no stage one to prove {engine.info} with")
    pairs = (
        ((scores, expected) for scores in _run(engine, tile, 1, 1))
        for tile, expected in zip(golden.tiles, golden.scores, strict=True)
    )
    what = f"golden tiles of stage one of {bundle.manifest.name}"
    return _judge(pairs, spec.graphs[precision].tolerance, engine, what)


def _judge(
    tiles: Iterable[Iterable[tuple[U8, U8]]], tolerance: GoldenTolerance, engine: Engine, what: str
) -> GoldenReport:
    """Compare the engine's scores with the golden ones, a tile's in one or several pieces."""
    largest, means = [], []
    for pieces in tiles:
        total = count = peak = 0
        for got, wanted in pieces:
            difference = np.abs(got.astype(np.int16) - wanted)
            peak = max(peak, int(difference.max()))
            total, count = total + int(difference.sum()), count + difference.size
        largest.append(peak)
        means.append(total / count)
    wrong = [i for i in range(len(means)) if largest[i] > tolerance.max_levels or means[i] > tolerance.mean_levels]
    if wrong:
        worst = max(wrong, key=lambda i: (largest[i], means[i]))
        raise GoldenMismatchError(
            f"{engine.info} does not reproduce {len(wrong)} of {len(means)} {what}: "
            f"tile {worst} is off by up to {largest[worst]} of 255 levels, mean {means[worst]:.3f}; allowed are "
            f"{tolerance.max_levels} and {tolerance.mean_levels:g}. It must not go live: rebuild the engine, or export "
            "the bundle again"
        )
    return GoldenReport(len(means), max(largest), max(means))


def _answers(
    engine: Engine, tile: U8, expected: U8, contract: TilingContract, edge: int, batch: int
) -> Iterator[tuple[U8, U8]]:
    """Yield pairs of comparable scores K x h x w: the engine's and the golden ones, for engine tiles of ``edge``."""
    side = tile.shape[0]
    if edge == side or contract.mode == "whole":
        for scores in _run(engine, tile, len(expected), batch):
            yield scores, expected
        return
    if contract.mode != "exact" or (edge > side and side <= contract.halo_px):
        why = "no halo makes its tiles exact" if contract.mode != "exact" else f"its halo is {contract.halo_px} px"
        raise EngineError(
            f"golden tiles of {side} px cannot prove {engine.info} with tiles of {edge} px ({why}); "
            f"build it for tiles of {side} px"
        )
    # Beyond the golden tile the network saw its own padding; a larger tile has pixels there, so a halo is left out.
    keep = side if edge < side else side - contract.halo_px
    padded = tile if edge < side else np.pad(tile, ((0, edge - side), (0, edge - side), (0, 0)))
    grid = plan_tiles((side, side), tile_px=edge, halo_px=contract.halo_px, stride_px=contract.stride_px, shrink=False)
    for cut in grid.tiles:
        y, x = cut.y.origin, cut.x.origin
        (top, left), (rows, columns) = cut.crop, cut.core
        for scores in _run(engine, padded[y : y + edge, x : x + edge], len(expected), batch):
            yield scores[:, top, left][:, :keep, :keep], expected[:, rows, columns][:, :keep, :keep]


def _require_decision(engine: Engine, index: int, expected: int, max_levels: int, batch: int) -> None:
    """Compare the decision of the last run, in every slot of its batch, with the golden one."""
    got = engine.decisions
    if got is None or got.shape != (batch, 1):
        what = "no decision" if got is None else f"decisions {got.shape}"
        raise EngineError(f"{engine.info} returns {what} for golden frames, expected {(batch, 1)}")
    off = int(np.abs(got.astype(np.int16) - expected).max())
    if off > max_levels:
        raise GoldenMismatchError(
            f"{engine.info} does not reproduce the decision on golden frame {index}: it is off by {off} of 255 levels, "
            f"{max_levels} are allowed. It must not go live: rebuild the engine, or export the bundle again"
        )


def _run(engine: Engine, tile: U8, classes: int, batch: int) -> U8:
    """Score the tile in every slot of a batch."""
    scores = engine.run(np.ascontiguousarray(np.repeat(tile[None], batch, axis=0)))
    expected = (batch, classes, *tile.shape[:2])
    if scores.shape != expected:
        raise EngineError(f"{engine.info} returns scores {scores.shape} for golden tiles, expected {expected}")
    return scores
