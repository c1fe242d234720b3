"""The seam between the inspector and whatever executes a graph."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from jetspect.errors import EngineError
from jetspect.runtime.cuda.base import Buffer, Cuda

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class EngineInfo:
    """What really executes the graph, as proven when it was loaded."""

    name: str
    version: str
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.precision} on {self.device}"


def require_tiles(tiles: U8, channels: int) -> None:
    """Raise EngineError for what is no contiguous batch of uint8 tiles with so many channels."""
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[3] != channels or not tiles.flags.c_contiguous:
        raise EngineError(
            f"the graph takes contiguous uint8 tiles N x H x W x {channels}, got {tiles.dtype} {tiles.shape}"
        )


class Engine(Protocol):
    """Runs a bundle's graph on batches of uint8 tiles."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def dynamic(self) -> bool:
        """Whether any batch and any tile size that is a multiple of the stride is accepted."""
        ...

    def run(self, tiles: U8) -> U8:
        """Score N x H x W x C uint8 tiles as N x K x H x W uint8. The answer is valid until the next call."""
        ...

    @property
    def decisions(self) -> U8 | None:
        """The second output of the last run, uint8 N x 1, where the graph decides on whole images; else None."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An engine on a CUDA device, for one tile shape and batch. Frames are cut and put together on the device around it.

    ``tiles`` holds N x H x W x C and ``scores`` N x K x H x W uint8; both belong to the engine.
    """

    @property
    def cuda(self) -> Cuda: ...

    @property
    def tile_shape(self) -> tuple[int, int, int, int]:
        """N, H, W and C of one run."""
        ...

    @property
    def tiles(self) -> Buffer: ...

    @property
    def scores(self) -> Buffer: ...

    def enqueue(self) -> None:
        """Queue one run over what lies in ``tiles``, in the stream of ``cuda``."""
        ...
