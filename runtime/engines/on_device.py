"""What engines on a CUDA device have in common: their memory, and a run from and to the host."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from jetspect.errors import EngineError
from jetspect.runtime.cuda.base import Buffer, Cuda
from jetspect.runtime.cuda.memory import Memory
from jetspect.runtime.engines.base import U8, EngineInfo

if TYPE_CHECKING:
    from typing_extensions import Self


class OnDevice(ABC):
    """Base of device engines. Not thread-safe: one thread makes all calls, as with the device.

    Parameters
    ----------
    shape
        N, H, W and C of one run.
    owns_cuda
        Whether closing the engine closes the device.
    """

    def __init__(
        self, info: EngineInfo, cuda: Cuda, shape: tuple[int, int, int, int], *, owns_cuda: bool = False
    ) -> None:
        self._info, self._cuda, self._shape, self._owns_cuda = info, cuda, shape, owns_cuda
        self._memory = Memory(cuda)
        self._decided: Buffer | None = None
        self._decisions: U8 | None = None
        self._closed = False

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def dynamic(self) -> bool:
        return False

    @property
    def cuda(self) -> Cuda:
        return self._cuda

    @property
    def tile_shape(self) -> tuple[int, int, int, int]:
        return self._shape

    @property
    def tiles(self) -> Buffer:
        return self._tiles

    @property
    def scores(self) -> Buffer:
        return self._scores

    @property
    def decisions(self) -> U8 | None:
        return self._decisions

    def run(self, tiles: U8) -> U8:
        if tiles.dtype != np.uint8 or tiles.shape != self._shape or not tiles.flags.c_contiguous:
            raise EngineError(
                f"{self._info} was made for contiguous uint8 tiles {self._shape}, got {tiles.dtype} {tiles.shape}; "
                "give it full batches, or make one for that shape (tiling.tile_px and tiling.batch; jetspect build)"
            )
        self._require_open()
        with self._cuda.current():
            self._cuda.upload(self._tiles, tiles)
            self._launch()
            self._cuda.download(self._host, self._scores)
            if self._decided is not None:
                self._cuda.download(self._host_decided, self._decided)
                self._decisions = self._host_decided
            self._cuda.synchronise()
        return self._host

    def enqueue(self) -> None:
        self._require_open()
        with self._cuda.current():
            self._launch()

    def close(self) -> None:
        """Give memory back, and the device if it is ours; may be called again."""
        if self._closed:
            return
        self._closed = True
        self._decisions = None
        with ExitStack() as after:
            if self._owns_cuda:
                after.callback(self._cuda.close)
            # A device that is closed or lost has taken all of it along: whatever fails here is no news.
            with suppress(EngineError):
                after.enter_context(self._cuda.current())
                self._cuda.synchronise()  # a run in flight still uses what goes now
            self._release()
            with suppress(EngineError):
                self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make_buffers(self, scores_shape: tuple[int, int, int, int], *, decides: bool) -> None:
        """Make memory for tiles, scores and, where the graph decides on whole images, decisions; once."""
        self._tiles, self._scores = (self._memory.alloc(math.prod(shape)) for shape in (self._shape, scores_shape))
        self._host = self._memory.host(scores_shape, np.uint8)[0]
        if decides:
            decided = self._shape[0], 1
            self._decided = self._memory.alloc(decided[0])
            self._host_decided = self._memory.host(decided, np.uint8)[0]

    def _require_open(self) -> None:
        if self._closed:
            raise EngineError(f"the engine {self._info} is closed; open it again")

    @abstractmethod
    def _launch(self) -> None:
        """Queue one run."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of what lives beside the memory, before it goes."""
