"""Engines for tests of what runs on a device, on the processor that stands in for one."""

from __future__ import annotations

from types import TracebackType

import numpy as np
import numpy.typing as npt
from host_cuda import HostCuda, view

from jetspect.runtime.cuda.base import Buffer
from jetspect.runtime.engines.base import Engine, EngineInfo

U8 = npt.NDArray[np.uint8]


class Echo:
    """An engine whose score is the tile's first channel, for every class."""

    info = EngineInfo("echo", "1", "cpu", "fp32")
    dynamic = False
    decisions = None

    def __init__(self, classes: int) -> None:
        self._classes = classes

    def run(self, tiles: U8) -> U8:
        return np.ascontiguousarray(np.repeat(tiles[None, ..., 0], self._classes, axis=0).transpose(1, 0, 2, 3))

    def close(self) -> None: ...

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, k: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None: ...


class OnDevice:
    """Any engine as one on a device, for one tile shape N x H x W x C."""

    dynamic = False

    def __init__(self, engine: Engine, cuda: HostCuda, tile_shape: tuple[int, int, int, int], classes: int) -> None:
        n, h, w, _ = tile_shape
        self._engine, self.cuda, self.tile_shape = engine, cuda, tile_shape
        self._score_shape = n, classes, h, w
        self.tiles: Buffer = cuda.alloc(int(np.prod(tile_shape)))
        self.scores: Buffer = cuda.alloc(int(np.prod(self._score_shape)))

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    @property
    def decisions(self) -> U8 | None:
        return self._engine.decisions

    def enqueue(self) -> None:
        self.cuda.queue(self._execute)

    def _execute(self) -> None:
        view(self.scores, self._score_shape)[:] = self._engine.run(view(self.tiles, self.tile_shape).copy())

    def run(self, tiles: U8) -> U8:
        assert tiles.shape == self.tile_shape
        self.cuda.upload(self.tiles, tiles)
        self.enqueue()
        scores = np.empty(self._score_shape, np.uint8)
        self.cuda.download(scores, self.scores)
        self.cuda.synchronise()
        return scores

    def close(self) -> None:
        self._engine.close()

    def __enter__(self) -> OnDevice:
        return self

    def __exit__(self, k: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None:
        self.close()
