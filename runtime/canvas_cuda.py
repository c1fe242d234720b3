"""The score map of frames of one size on a CUDA device, and everything in its memory that belongs to that size.

What :mod:`jetspect.runtime.scoring` keeps in arrays lies here in buffers: the frame, where tiles and cores lie, the region, the
foreground and the map itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from jetspect.runtime.cuda.base import Argument, Buffer, Cuda
from jetspect.runtime.cuda.memory import Memory
from jetspect.runtime.engines.base import DeviceEngine
from jetspect.runtime.foreground import ForegroundGate, ForegroundMask
from jetspect.runtime.postprocess.cuda import pitch_of
from jetspect.runtime.tiling import Tile, TileGrid, cut_axis, hann_weights

U8 = npt.NDArray[np.uint8]


class Canvas:
    """Memory for frames of one size, and the score map stitched from cores."""

    def __init__(
        self, cuda: Cuda, engine: DeviceEngine, grid: TileGrid, region: U8 | None, classes: int, stride: int
    ) -> None:
        self.grid = grid
        self._cuda, self._engine, self._classes, self._stride = cuda, engine, classes, stride
        height, width = grid.frame_hw
        self._pitch = pitch_of(width)
        self.plane_bytes = height * self._pitch
        self._region_host = region
        self._blocks: Buffer | None = None
        self._where: tuple[Argument, ...] = ()
        self._gate: ForegroundGate | None = None
        self._tiles: tuple[Tile, ...] = ()
        # The frame's own memory apart: it changes where grey frames follow colour ones.
        self._memory, self._of_frame = Memory(cuda), Memory(cuda)
        self._frame: tuple[U8, Buffer, bool] | None = None
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def gate(self, scale: int) -> ForegroundGate:
        """Return what chooses tiles by a foreground mask; worked out once."""
        if self._gate is None:
            self._gate = self._make_gate(scale)
        return self._gate

    def host_frame(self, shape: tuple[int, ...]) -> U8:
        return self._frame_for(shape)[0]

    def load(self, image: U8) -> Buffer:
        """Bring a frame to the device; one that already lies in :meth:`host_frame` is not copied first."""
        host, frame, mapped = self._frame_for(image.shape)
        if (image.ctypes.data, image.strides) != (host.ctypes.data, host.strides):
            np.copyto(host, image)
        if not mapped:
            self._cuda.upload(frame, host)
        return frame

    def start(self, mask: ForegroundMask | None) -> TileGrid:
        """Choose the tiles of the next frame and clear what they do not overwrite."""
        grid = self.grid if mask is None else self.grid.only(self.gate(mask.scale).choose(mask).tolist())
        self._place(grid.tiles)
        self._where = self._region, None, 1, 1, 1
        if mask is not None:
            grown = np.ascontiguousarray(mask.grown)
            if self._blocks is None:
                self._blocks = self._memory.alloc(grown.nbytes)
            self._cuda.upload(self._blocks, grown)
            self._where = self._region, self._blocks, *grown.shape, mask.scale
        self._clear()
        return grid

    def scatter(self, scores: Buffer, first: int, tiles: Sequence[Tile]) -> None:
        _, tile_h, tile_w, _ = self._engine.tile_shape
        height, width = self.grid.frame_hw
        rows = max(t.y.core_stop - t.y.core_start for t in tiles)
        chunks = max(-(-t.x.core_stop // 16) - t.x.core_start // 16 for t in tiles)
        threads = rows * chunks, self._classes, len(tiles)
        shape = height, width, self._pitch
        cuts = self._cuts.at(first * 24)
        self._cuda.launch("scatter_cores", threads, scores, tile_h, tile_w, cuts, self.map, *shape, *self._where)

    def finish(self) -> None:
        """Complete the map after the last tile."""

    def close(self) -> None:
        try:
            self._memory.close()
        finally:
            self._of_frame.close()

    def _make(self) -> None:
        grid, cuda = self.grid, self._cuda
        self.map = self._memory.alloc(self._classes * self.plane_bytes)
        cuda.fill(self.map, 0)
        self.origins = self._memory.alloc(max(1, len(grid.tiles)) * 8)
        self._cuts = self._memory.alloc(max(1, len(grid.tiles)) * 24)
        self._region: Buffer | None = None
        if self._region_host is not None:
            self._region = self._memory.alloc(self._region_host.nbytes)
            cuda.upload(self._region, self._region_host)
        self._place(grid.tiles)

    def _frame_for(self, shape: tuple[int, ...]) -> tuple[U8, Buffer, bool]:
        """Return a frame's memory on the host and on the device, and whether they are the same."""
        if self._frame is None or self._frame[0].shape != shape:
            self._frame = None  # gone before the new one is made, and also where it cannot be made
            self._of_frame.close()
            host, mapped = self._of_frame.host(shape, np.uint8)
            frame = mapped if mapped is not None else self._of_frame.alloc(host.nbytes)
            self._frame = host, frame, mapped is not None
        return self._frame

    def _place(self, tiles: tuple[Tile, ...]) -> None:
        """Tell the device where the tiles lie, unless it knows."""
        if tiles == self._tiles or not tiles:
            return
        origins = np.array([(t.y.origin, t.x.origin) for t in tiles], np.int32)
        cores = [(t.y.core_start, t.y.core_stop, t.x.core_start, t.x.core_stop) for t in tiles]
        self._cuda.upload(self.origins, origins)
        self._cuda.upload(self._cuts, np.hstack([origins, np.array(cores, np.int32)]))
        self._tiles = tiles

    def _make_gate(self, scale: int) -> ForegroundGate:
        return ForegroundGate(self.grid, self._region_host, scale)

    def _clear(self) -> None:
        # Cores overwrite every pixel of the tiles that run; only those left out keep what an earlier frame left there.
        if len(self._tiles) < len(self.grid.tiles) or self._blocks is not None:
            self._cuda.fill(self.map, 0)


class BlendCanvas(Canvas):
    """The same from overlapping tiles under Hann weights, for models that no halo makes exact."""

    def _make(self) -> None:
        super()._make()
        grid, cuda = self.grid, self._cuda
        self._sum = self._memory.alloc(self._classes * grid.frame_hw[0] * grid.frame_hw[1] * 4)
        self._weights: list[dict[int, Buffer]] = []
        for length, tile in zip(grid.frame_hw, grid.tile_hw, strict=True):
            cuts = cut_axis(length, tile, grid.halo_px, self._stride)
            of_axis = {}
            for cut, weights in zip(cuts, hann_weights(length, cuts, tile), strict=True):
                of_axis[cut.origin] = self._memory.alloc(weights.nbytes)
                cuda.upload(of_axis[cut.origin], weights)
            self._weights.append(of_axis)
        cuda.synchronise()  # the weights may go now

    def scatter(self, scores: Buffer, first: int, tiles: Sequence[Tile]) -> None:
        # One tile after the other: sums of floats depend on their order, and the reference's is this one.
        _, tile_h, tile_w, _ = self._engine.tile_shape
        for slot, tile in enumerate(tiles):
            y, x = tile.y.origin, tile.x.origin
            one = scores.at(slot * self._classes * tile_h * tile_w)
            weights = self._weights[0][y], self._weights[1][x]
            threads = tile_h * tile_w, self._classes, 1
            self._cuda.launch(
                "blend_tile", threads, one, tile_h, tile_w, y, x, *weights, self._sum, *self.grid.frame_hw
            )

    def finish(self) -> None:
        height, width = self.grid.frame_hw
        threads = height * width, self._classes, 1
        self._cuda.launch("finish_blend", threads, self._sum, self.map, height, width, self._pitch, *self._where)

    def _make_gate(self, scale: int) -> ForegroundGate:
        return ForegroundGate(self.grid, self._region_host, scale, whole_tiles=True)

    def _clear(self) -> None:
        self._cuda.fill(self._sum, 0)
