"""Frame -> score map: gather tiles from the uint8 frame, run the engine, stitch what it answers.

The frame is never copied as a whole and never turned into floats; tiles go straight into the engine's input batch and
cores straight into the score map. Both buffers are kept from frame to frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.engines.base import Engine
from jetspect.runtime.foreground import ForegroundGate, ForegroundMask
from jetspect.runtime.manifest import Manifest, TilingContract
from jetspect.runtime.postprocess.reference import APART_PX, Box, add_box, level_of
from jetspect.runtime.region import TilingSettings, region_mask
from jetspect.runtime.tiling import Tile, TileGrid, cut_axis, hann_weights, plan_tiles

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
_BOXES = 4  # of one core


@dataclass(frozen=True, eq=False)
class Scores:
    """The score map of one frame, valid until the next one.

    Attributes
    ----------
    score_map
        uint8 K x H x W.
    hot
        Per class boxes outside which every score is below the low threshold.
    decision
        Probability that the image shows a defect, in steps of 1/255; None for a model that does not say.
    """

    score_map: U8
    hot: tuple[tuple[Box, ...], ...]
    grid: TileGrid
    gather_ms: float
    engine_ms: float
    scatter_ms: float
    decision: float | None = None


class ScoreMapper:
    """Scores whole frames with one engine. Not thread-safe: one mapper per thread.

    Raises
    ------
    InputError
        The tile size breaks the model's rules, or the region does not fit the frame.
    """

    def __init__(self, manifest: Manifest, engine: Engine, settings: TilingSettings) -> None:
        self._contract = manifest.tiling
        self._channels = manifest.input.channels
        self._low = [level_of(c.threshold_low) for c in manifest.output.classes]
        self._engine = engine
        self._settings = settings
        self.tile_px = settings.tile_px or manifest.tiling.tile_px
        self._grid_for((self.tile_px, self.tile_px), None)  # refuses a wrong tile size before the first frame
        self._canvas: _Exact | None = None
        self._tiles = np.empty(0, np.uint8)

    def prepare(self, frame_hw: tuple[int, int]) -> None:
        """Lay out tiles and buffers for frames of a size; refuses a region that does not fit it."""
        self._canvas_for(frame_hw)

    def share(self, mask: ForegroundMask) -> float:
        """Return how much of the region (without one: of the frame) shows the part, 0-1."""
        return self._canvas_for(mask.frame_hw).gate(mask.scale).share(mask)

    def score(self, image: U8, mask: ForegroundMask | None = None) -> Scores:
        """Score one frame, uint8 H x W x 3 (BGR) or H x W; grey and colour are converted to what the model takes.

        With a foreground mask, tiles without part are skipped and scores outside it are zero.
        """
        canvas = self._canvas_for((image.shape[0], image.shape[1]))
        begin = perf_counter_ns()
        canvas.start(mask)
        spent = [perf_counter_ns() - begin, 0, 0]
        batch = self._settings.batch
        for first in range(0, len(canvas.grid.tiles), batch):
            group = canvas.grid.tiles[first : first + batch]
            times = [perf_counter_ns()]
            for slot, tile in enumerate(group):
                gather(image, tile, self._tiles[slot])
            times.append(perf_counter_ns())
            # A static engine takes full batches only; slots left over hold an old tile whose answer is ignored.
            scores = self._engine.run(self._tiles[: len(group)] if self._engine.dynamic else self._tiles)
            times.append(perf_counter_ns())
            for slot, tile in enumerate(group):
                canvas.scatter(scores[slot], tile)
            times.append(perf_counter_ns())
            spent = [total + after - before for total, before, after in zip(spent, times, times[1:], strict=False)]
        start = perf_counter_ns()
        canvas.finish()
        spent[2] += perf_counter_ns() - start
        gather_ms, engine_ms, scatter_ms = (ns / 1e6 for ns in spent)
        return Scores(canvas.score_map, tuple(map(tuple, canvas.hot)), canvas.grid, gather_ms, engine_ms, scatter_ms)

    def _canvas_for(self, frame_hw: tuple[int, int]) -> _Exact:
        if self._canvas is None or self._canvas.grid.frame_hw != frame_hw:
            region = region_mask(self._settings, frame_hw)
            grid = self._grid_for(frame_hw, region)
            self._tiles = np.zeros((self._settings.batch, *grid.tile_hw, self._channels), np.uint8)
            self._canvas = (
                _Exact(grid, region, self._low)
                if self._contract.mode == "exact"
                else _Blend(grid, region, self._low, self._contract, self.tile_px)
            )
        return self._canvas

    def _grid_for(self, frame_hw: tuple[int, int], region: U8 | None) -> TileGrid:
        return plan_tiles(
            frame_hw,
            tile_px=self.tile_px,
            halo_px=self._contract.halo_px,
            stride_px=self._contract.stride_px,
            # Blended pixels need every tile that reaches them, so there none is skipped for its core.
            keep=region if self._contract.mode == "exact" else None,
            shrink=self._engine.dynamic,
        )


def gather(image: U8, tile: Tile, out: U8) -> None:
    """Copy one tile of a frame into an engine's input, uint8 T x T x C; reflect what lies beyond the frame."""
    height, width, channels = out.shape
    part = image[tile.y.origin : tile.y.origin + height, tile.x.origin : tile.x.origin + width]
    below, right = height - part.shape[0], width - part.shape[1]
    if below or right:
        padded = cv2.copyMakeBorder(part, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        part = padded.astype(np.uint8, copy=False)
    if image.ndim == 3 and channels == 3:
        out[...] = part
    elif image.ndim == 2 and channels == 1:
        out[:, :, 0] = part
    elif image.ndim == 2:
        cv2.cvtColor(part, cv2.COLOR_GRAY2BGR, dst=out)
    else:
        cv2.cvtColor(part, cv2.COLOR_BGR2GRAY, dst=out[:, :, 0])


def hot_boxes(core: U8, low: int, origin_yx: tuple[int, int]) -> list[Box]:
    """Return boxes in frame pixels that hold every score of a core at or above ``low``, in blocks of ``APART_PX`` px.

    A core that is hot in many places gets one box for all: putting boxes together takes time too.
    """
    height, width = core.shape
    # Row by row of blocks, which NumPy reduces many times faster than reduceat does all of them.
    rows = np.stack([core[y : y + APART_PX].max(axis=0) for y in range(0, height, APART_PX)])
    blocks = np.maximum.reduceat(rows, np.arange(0, width, APART_PX), axis=1)
    hot = (blocks >= low).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(hot, connectivity=8)
    spans = [tuple(int(n) for n in stats[i, :4]) for i in range(1, count)] if count <= 1 + _BOXES else []
    if not spans:
        x, y, w, h = cv2.boundingRect(hot)
        spans = [(x, y, w, h)]
    top, left = origin_yx
    return [
        (
            top + y * APART_PX,
            left + x * APART_PX,
            top + min(height, (y + h) * APART_PX),
            left + min(width, (x + w) * APART_PX),
        )
        for x, y, w, h in spans
    ]


class _Exact:
    """The score map of frames of one size, stitched from cores. ``grid`` holds the tiles of the frame at hand."""

    def __init__(self, grid: TileGrid, region: U8 | None, low: list[int]) -> None:
        self.grid = self._all = grid
        self._held = np.zeros(len(grid.tiles), bool)
        self.hot: list[list[Box]] = [[] for _ in low]
        self.score_map = np.zeros((len(low), *grid.frame_hw), np.uint8)
        self._region = region
        self._mask: ForegroundMask | None = None
        self._gate: ForegroundGate | None = None
        self._low = low

    def gate(self, scale: int) -> ForegroundGate:
        """Return what chooses tiles by a foreground mask; worked out once."""
        if self._gate is None:
            self._gate = self._make_gate(scale)
        return self._gate

    def start(self, mask: ForegroundMask | None) -> None:
        """Choose the tiles of the next frame and clear what it does not overwrite."""
        held = np.ones(len(self._all.tiles), bool) if mask is None else self.gate(mask.scale).choose(mask)
        self._clear(self._all.only(self._held & ~held).tiles)
        self._mask, self._held, self.grid = mask, held, self._all.only(held)
        self.hot = [[] for _ in self._low]

    def scatter(self, scores: U8, tile: Tile) -> None:
        rows, columns = tile.core
        part = None if self._mask is None or self._mask.covers(tile.core) else self._mask.cut(tile.core)
        for k, low in enumerate(self._low):
            core = scores[k][tile.crop]
            if self._region is not None:
                core = np.bitwise_and(core, self._region[tile.core])
            if part is not None:
                core = np.bitwise_and(core, part)
            self.score_map[k][tile.core] = core
            if core.max() >= low:
                for box in hot_boxes(core, low, (rows.start, columns.start)):
                    add_box(self.hot[k], box)

    def finish(self) -> None:
        """Complete the map after the last tile."""

    def _make_gate(self, scale: int) -> ForegroundGate:
        return ForegroundGate(self._all, self._region, scale)

    def _clear(self, left: tuple[Tile, ...]) -> None:
        # Cores overwrite their pixels and tiles never run stay zero: only what the frame before leaves has to go.
        for rows, columns in (tile.core for tile in left):
            self.score_map[:, rows, columns] = 0


class _Blend(_Exact):
    """The same from overlapping tiles under Hann weights, for models that no halo makes exact."""

    def __init__(
        self, grid: TileGrid, region: U8 | None, low: list[int], contract: TilingContract, tile_px: int
    ) -> None:
        super().__init__(grid, region, low)
        self._sum: F32 = np.zeros(self.score_map.shape, np.float32)
        self._weights: list[dict[int, F32]] = []
        for length, tile in zip(grid.frame_hw, grid.tile_hw, strict=True):
            cuts = cut_axis(length, tile_px, contract.halo_px, contract.stride_px)
            weights = hann_weights(length, cuts, tile)
            self._weights.append({c.origin: w for c, w in zip(cuts, weights, strict=True)})

    def scatter(self, scores: U8, tile: Tile) -> None:
        top, left = tile.y.origin, tile.x.origin
        target = self._sum[:, top : top + scores.shape[1], left : left + scores.shape[2]]
        _, height, width = target.shape
        weight = np.outer(self._weights[0][top][:height], self._weights[1][left][:width])
        target += scores[:, :height, :width] * weight

    def finish(self) -> None:
        np.copyto(self.score_map, np.minimum(self._sum + 0.5, 255.0), casting="unsafe")
        if self._region is not None:
            np.bitwise_and(self.score_map, self._region, out=self.score_map)
        if self._mask is not None:
            np.bitwise_and(self.score_map, self._mask.full(), out=self.score_map)
        whole = (0, 0, *self.grid.frame_hw)
        self.hot = [[whole] if self.score_map[k].max() >= low else [] for k, low in enumerate(self._low)]

    def _make_gate(self, scale: int) -> ForegroundGate:
        return ForegroundGate(self._all, self._region, scale, whole_tiles=True)

    def _clear(self, left: tuple[Tile, ...]) -> None:
        self._sum.fill(0)
