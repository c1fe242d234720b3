"""What jetspect asks of a CUDA device: memory, copies, kernels and times, all in the order of one stream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class CudaInfo:
    """The device as it was opened.

    Attributes
    ----------
    compute_capability
        Major and minor, e.g. (8, 7) for Orin.
    integrated
        The GPU shares the processor's memory (Jetson), so frames need not be copied to it.
    driver
        The CUDA version of the driver, e.g. (12, 6).
    """

    name: str
    compute_capability: tuple[int, int]
    integrated: bool
    driver: tuple[int, int]
    memory_bytes: int

    def __str__(self) -> str:
        major, minor = self.compute_capability
        return f"{self.name} (sm_{major}{minor}, CUDA {self.driver[0]}.{self.driver[1]})"


@dataclass(frozen=True)
class Buffer:
    """A piece of device memory; it lives as long as the device that made it, or until :meth:`Cuda.free`."""

    address: int
    nbytes: int

    def at(self, offset: int) -> Buffer:
        """Return what begins ``offset`` bytes further on; not to be freed."""
        return Buffer(self.address + offset, self.nbytes - offset)


# What a kernel takes: int and float with 32 bits, NumPy scalars as they are, a buffer's address, None as the null pointer.
Argument = int | float | np.generic | Buffer | None


class Mark(Protocol):
    """A place in the stream."""

    def ms_since(self, earlier: Mark) -> float:
        """Wait until the device has come here; return the milliseconds since an earlier mark."""
        ...


class Cuda(Protocol):
    """One device and one stream. Calls return at once and happen in order; :meth:`synchronise` waits for them.

    Not thread-safe: one thread at a time makes calls. Calls that fail raise EngineError, and DeviceLostError where nothing
    will run on the device any more.
    """

    @property
    def info(self) -> CudaInfo: ...

    @property
    def stream(self) -> int:
        """The handle of the stream, for libraries that queue their own work in it."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Make the device current for this thread, for libraries that make calls of their own; costs nothing inside another."""
        ...

    def free_bytes(self) -> int:
        """Return how much device memory is free now."""
        ...

    def alloc(self, nbytes: int) -> Buffer:
        """Return device memory; EngineError where there is not enough."""
        ...

    def free(self, buffer: Buffer) -> None:
        """Give memory back that :meth:`alloc` returned."""
        ...

    def host(self, shape: tuple[int, ...], dtype: type[Scalar]) -> tuple[npt.NDArray[Scalar], Buffer | None]:
        """Return page-locked host memory, and on an integrated GPU the same memory as the device sees it."""
        ...

    def free_host(self, array: Array) -> None:
        """Give memory back that :meth:`host` returned; nothing may look at the array any more."""
        ...

    def upload(self, target: Buffer, source: Array) -> None:
        """Copy a contiguous array to the device. One from :meth:`host` must not change before :meth:`synchronise`."""
        ...

    def download(self, target: Array, source: Buffer) -> None:
        """Copy from the device to a contiguous array; it is valid after the next :meth:`synchronise`."""
        ...

    def copy(self, target: Buffer, source: Buffer) -> None:
        """Copy as much as ``source`` holds from one place on the device to another."""
        ...

    def fill(self, target: Buffer, byte: int) -> None:
        """Set every byte of a buffer."""
        ...

    def launch(self, kernel: str, threads: tuple[int, int, int], *arguments: Argument) -> None:
        """Run one of jetspect's kernels with at least so many threads along x, and exactly so many along y and z."""
        ...

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what ``work`` queues as a CUDA graph; calling the answer queues all of it at once."""
        ...

    def mark(self) -> Mark: ...

    def synchronise(self) -> None:
        """Wait for everything so far; EngineError where any of it failed."""
        ...

    def close(self) -> None:
        """Give everything back; may be called again."""
        ...

    def __enter__(self) -> Cuda: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
