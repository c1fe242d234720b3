"""Frame -> score map on the GPU: one upload of the raw frame, then kernels around the engine, all in one stream.

The same answer as :mod:`jetspect.runtime.scoring`, bit by bit. On a GPU that shares the processor's memory the frame is not
uploaded at all: the kernels read it where the processor wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.canvas_cuda import BlendCanvas, Canvas
from jetspect.runtime.cuda.base import Buffer, Mark
from jetspect.runtime.engines.base import DeviceEngine
from jetspect.runtime.foreground import ForegroundMask
from jetspect.runtime.manifest import TilingContract
from jetspect.runtime.postprocess.cuda import pitch_of
from jetspect.runtime.region import TilingSettings, region_mask
from jetspect.runtime.tiling import TileGrid, plan_tiles

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Stages:
    """Marks around the parts of one frame's work; how long each took is known once the device is done."""

    start: Mark
    loaded: Mark
    batches: Sequence[tuple[Mark, Mark, Mark]]
    end: Mark

    def spent_ms(self) -> tuple[float, float, float, float]:
        """Return the milliseconds of the upload, of gathering, of the engine, and of scattering."""
        upload = self.loaded.ms_since(self.start)
        gather = engine = scatter = 0.0
        before = self.loaded
        for gathered, run, scattered in self.batches:
            gather += gathered.ms_since(before)
            engine += run.ms_since(gathered)
            scatter += scattered.ms_since(run)
            before = scattered
        return upload, gather, engine, scatter + self.end.ms_since(before)


class CudaMapper:
    """Scores frames with one engine on a CUDA device. Not thread-safe; memory is kept from frame to frame.

    Parameters
    ----------
    contract
        How frames may be cut.
    channels, classes
        Of the model's tiles and scores.

    Raises
    ------
    InputError
        The station asks for other tiles or batches than the engine was built for, or for tiles that break the model's rules.
    """

    def __init__(
        self, contract: TilingContract, channels: int, classes: int, engine: DeviceEngine, settings: TilingSettings
    ) -> None:
        self._contract = contract
        self._engine, self._cuda, self._settings = engine, engine.cuda, settings
        self._classes = classes
        self.tile_px = settings.tile_px or contract.tile_px
        wanted = settings.batch, self.tile_px, self.tile_px, channels
        if engine.tile_shape != wanted:
            n, h, w, c = engine.tile_shape
            raise InputError(
                f"{engine.info} was built for {n} tiles of {w} x {h} px and {c} channels, the station asks for {wanted[0]} of "
                f"{self.tile_px} x {self.tile_px} px and {wanted[3]}: set tiling.tile_px and tiling.batch to what was built, "
                "or build what they say with: jetspect build"
            )
        self._plan((self.tile_px, self.tile_px), None)  # refuses a wrong tile size before the first frame
        self._cuda.fill(engine.tiles, 0)
        self._canvas: Canvas | None = None

    def prepare(self, frame_hw: tuple[int, int]) -> None:
        """Lay out tiles and memory for frames of a size; refuses a region that does not fit it."""
        self._canvas_for(frame_hw)

    def share(self, mask: ForegroundMask) -> float:
        """Return how much of the region (without one: of the frame) shows the part, 0-1."""
        return self._canvas_for(mask.frame_hw).gate(mask.scale).share(mask)

    def host_frame(self, shape: tuple[int, ...]) -> U8:
        """Return memory for a frame, H x W x 3 or H x W, from which it reaches the device fastest.

        A camera that writes here saves one copy of every frame. It is another piece of memory once the size changes.
        """
        return self._canvas_for((shape[0], shape[1])).host_frame(shape)

    def score(self, image: U8, mask: ForegroundMask | None = None) -> tuple[TileGrid, Stages]:
        """Queue the work of one frame, uint8 H x W x 3 (BGR) or H x W; the answer is the tiles that are run."""
        canvas, cuda, engine = self._canvas_for((image.shape[0], image.shape[1])), self._cuda, self._engine
        start = cuda.mark()
        frame = canvas.load(image)
        loaded = cuda.mark()
        grid = canvas.start(mask)
        batches = []
        n, tile_h, tile_w, channels = engine.tile_shape
        chunks = tile_h * -(-tile_w * channels // 16)
        shape = *grid.frame_hw, 1 if image.ndim == 2 else image.shape[2]
        for first in range(0, len(grid.tiles), n):
            count = min(n, len(grid.tiles) - first)
            origins = canvas.origins.at(first * 8)
            cuda.launch(
                "gather_tiles", (chunks, 1, count), frame, *shape, origins, engine.tiles, tile_h, tile_w, channels
            )
            gathered = cuda.mark()
            engine.enqueue()
            run = cuda.mark()
            canvas.scatter(engine.scores, first, grid.tiles[first : first + count])
            batches.append((gathered, run, cuda.mark()))
        canvas.finish()
        return grid, Stages(start, loaded, batches, cuda.mark())

    @property
    def map(self) -> Buffer:
        """The score map on the device, uint8 K x H x pitch, after the first frame."""
        return self._required().map

    @property
    def plane_bytes(self) -> int:
        """Bytes from one class of the map to the next."""
        return self._required().plane_bytes

    def download(self) -> U8:
        """Return the score map of the last frame, uint8 K x H x W."""
        canvas = self._required()
        height, width = canvas.grid.frame_hw
        whole = np.empty((self._classes, height, pitch_of(width)), np.uint8)
        self._cuda.download(whole, canvas.map)
        self._cuda.synchronise()
        return np.ascontiguousarray(whole[:, :, :width])

    def close(self) -> None:
        """Give the memory back; the engine stays open."""
        canvas, self._canvas = self._canvas, None
        if canvas is not None:
            canvas.close()

    def _required(self) -> Canvas:
        if self._canvas is None:
            raise InputError("there is no score map before the first frame; score one first")
        return self._canvas

    def _canvas_for(self, frame_hw: tuple[int, int]) -> Canvas:
        if self._canvas is None or self._canvas.grid.frame_hw != frame_hw:
            region = region_mask(self._settings, frame_hw)
            grid = self._plan(frame_hw, region)
            self.close()
            kind = Canvas if self._contract.mode == "exact" else BlendCanvas
            self._canvas = kind(self._cuda, self._engine, grid, region, self._classes, self._contract.stride_px)
        return self._canvas

    def _plan(self, frame_hw: tuple[int, int], region: U8 | None) -> TileGrid:
        contract = self._contract
        return plan_tiles(
            frame_hw,
            tile_px=self.tile_px,
            halo_px=contract.halo_px,
            stride_px=contract.stride_px,
            keep=region if contract.mode == "exact" else None,
            shrink=False,
        )
