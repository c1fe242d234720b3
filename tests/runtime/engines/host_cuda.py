"""A CUDA device that is the host's memory: enough of one to run an engine on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from jetspect.errors import EngineError
from jetspect.runtime.cuda.base import Buffer, CudaInfo

ORIN = CudaInfo("Orin", (8, 7), True, (12, 6), 8 * 1024**3)


class HostCuda:
    """Everything happens at once; ``left`` counts what was not given back."""

    def __init__(self, info: CudaInfo = ORIN, *, free: int = 4 * 1024**3) -> None:
        self.info, self.stream, self.closed, self.replays = info, 42, 0, 0
        self._free = free
        self._memory: dict[int, np.ndarray[Any, Any]] = {}

    @property
    def left(self) -> int:
        return len(self._memory)

    def free_bytes(self) -> int:
        return self._free

    def alloc(self, nbytes: int) -> Buffer:
        if nbytes > self._free:
            raise EngineError(
                f"the device has {self._free} bytes free, {nbytes} are needed; take a smaller tile or batch"
            )
        block = np.zeros(nbytes, np.uint8)
        self._memory[block.ctypes.data] = block
        return Buffer(block.ctypes.data, nbytes)

    def free(self, buffer: Buffer) -> None:
        del self._memory[buffer.address]

    def host(self, shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray[Any, Any], Buffer | None]:
        return np.zeros(shape, dtype), None

    def upload(self, target: Buffer, source: np.ndarray[Any, Any]) -> None:
        assert source.nbytes == target.nbytes and source.flags.c_contiguous
        ctypes.memmove(target.address, source.ctypes.data, source.nbytes)

    def download(self, target: np.ndarray[Any, Any], source: Buffer) -> None:
        assert target.nbytes == source.nbytes and target.flags.c_contiguous
        ctypes.memmove(target.ctypes.data, source.address, target.nbytes)

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        def replay() -> None:
            self.replays += 1
            work()

        return replay

    def synchronise(self) -> None: ...

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> HostCuda:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
