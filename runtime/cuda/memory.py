"""Memory of one owner: what was made together goes together, also when making it failed half-way."""

from __future__ import annotations

from contextlib import ExitStack

import numpy.typing as npt

from jetspect.runtime.cuda.base import Array, Buffer, Cuda, Scalar


class Memory:
    """Device and page-locked memory of one owner. :meth:`close` gives all of it back and may be called again."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._buffers: list[Buffer] = []
        self._arrays: list[Array] = []

    def alloc(self, nbytes: int) -> Buffer:
        """Return device memory; EngineError where there is not enough."""
        self._buffers.append(self._cuda.alloc(nbytes))
        return self._buffers[-1]

    def host(self, shape: tuple[int, ...], dtype: type[Scalar]) -> tuple[npt.NDArray[Scalar], Buffer | None]:
        """Return page-locked memory as :meth:`Cuda.host` does."""
        array, mapped = self._cuda.host(shape, dtype)
        self._arrays.append(array)
        return array, mapped

    def free(self, buffer: Buffer) -> None:
        """Give one buffer back early."""
        self._buffers.remove(buffer)
        self._cuda.free(buffer)

    def close(self) -> None:
        with ExitStack() as each:  # the last one made goes first; one that cannot go does not keep the others
            while self._buffers:
                each.callback(self._cuda.free, self._buffers.pop(0))
            while self._arrays:
                each.callback(self._cuda.free_host, self._arrays.pop(0))
