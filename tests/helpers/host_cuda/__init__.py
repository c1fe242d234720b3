"""A CUDA device made of a processor: the kernels of kernels.cu, compiled with g++, over ordinary memory.

It keeps the rules of :class:`jetspect.runtime.cuda.base.Cuda` and is stricter than a device: fresh memory holds garbage, copies
outside a buffer fail, nothing that was queued runs before someone waits for it, and threads can run in any order, interrupt
each other or run at the same time.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from jetspect.errors import EngineError
from jetspect.runtime.cuda.base import Argument, Buffer, CudaInfo
from jetspect.runtime.cuda.driver import KERNELS
from jetspect.runtime.cuda.launch import BLOCK, grid_of, pack

HERE = Path(__file__).parent
GARBAGE = 0xCD


def kernel_names(source: str) -> list[str]:
    return re.findall(r"__global__ void (\w+)\(", source)


def compile_kernels(*flags: str) -> Path:
    """Compile kernels.cu for this processor; once per source, flags and user."""
    source, header = KERNELS.read_text(), (HERE / "host_cuda.h").read_text()
    key = hashlib.sha256("\0".join([source, header, *flags]).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"jetspect-host-cuda-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"kernels-{key}.so"
    if library.exists():
        return library
    calls = [
        f'extern "C" void host_{name}(const unsigned* grid, const unsigned* block, void** arguments, unsigned workers, '
        f"unsigned seed) {{ host::run({name}, grid, block, arguments, workers, seed); }}"
        for name in kernel_names(source)
    ]
    with tempfile.TemporaryDirectory(dir=folder) as build:
        unit, built = Path(build) / "kernels.cpp", Path(build) / "kernels.so"
        unit.write_text("\n".join([f'#include "{KERNELS}"', *calls]))
        command = [
            "g++",
            "-std=c++17",
            "-O2",
            "-g",
            "-shared",
            "-fPIC",
            "-pthread",
            "-ffp-contract=off",
            "-Wall",
            "-Wextra",
        ]
        command += ["-Werror", "-Wno-sign-compare", "-DJETSPECT_HOST", f"-I{HERE}", *flags, str(unit), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        built.replace(library)
    return library


class HostMark:
    def __init__(self, cuda: HostCuda) -> None:
        self._cuda, self.at = cuda, 0.0

    def ms_since(self, earlier: HostMark) -> float:
        self._cuda.synchronise()
        return (self.at - earlier.at) * 1e3


class HostCuda:
    """A processor as a CUDA device.

    Parameters
    ----------
    workers
        Threads that really run at the same time.
    seed
        Shuffle threads and let them interrupt each other; 0 keeps their order.
    memory_bytes
        What :meth:`alloc` has to give.
    """

    def __init__(
        self,
        *,
        workers: int = 1,
        seed: int = 0,
        memory_bytes: int = 1 << 40,
        integrated: bool = False,
        flags: tuple[str, ...] = (),
    ) -> None:
        self._library = ctypes.CDLL(str(compile_kernels(*flags)))
        self._workers, self._seed = workers, seed
        self._memory: dict[int, np.ndarray[Any, Any]] = {}
        self._locked: set[int] = set()
        self._queue: list[Callable[[], None]] = []
        self._free = memory_bytes
        self.info = CudaInfo("host", (0, 0), integrated, (0, 0), memory_bytes)
        self.stream = 0
        self.launches: list[str] = []
        self.closed = False

    def free_bytes(self) -> int:
        return self._free

    @contextmanager
    def current(self) -> Iterator[None]:
        if self.closed:
            raise EngineError("host was closed; open it again")
        yield

    def queue(self, work: Callable[[], None]) -> None:
        """Put work into the stream, as a library would that shares it."""
        self._queue.append(work)

    def alloc(self, nbytes: int) -> Buffer:
        if nbytes > self._free:
            raise EngineError(f"host has no {nbytes} bytes left, {self._free} are free")
        data = np.full(max(nbytes, 1), GARBAGE, np.uint8)
        address = int(data.ctypes.data)
        assert address % 16 == 0, "kernels copy 16 bytes at a time"
        self._memory[address] = data
        self._free -= nbytes
        return Buffer(address, nbytes)

    def free(self, buffer: Buffer) -> None:
        self._release(buffer)

    def _release(self, buffer: Buffer) -> None:
        self.synchronise()
        del self._memory[buffer.address]
        self._free += buffer.nbytes

    def host(self, shape: tuple[int, ...], dtype: Any) -> tuple[np.ndarray[Any, Any], Buffer | None]:
        buffer = self.alloc(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self._locked.add(buffer.address)
        array = self._memory[buffer.address][: buffer.nbytes].view(dtype).reshape(shape)
        return array, buffer if self.info.integrated else None

    def free_host(self, array: np.ndarray[Any, Any]) -> None:
        address = int(array.ctypes.data)
        self._locked.remove(address)
        self._release(Buffer(address, array.nbytes))

    def upload(self, target: Buffer, source: np.ndarray[Any, Any]) -> None:
        assert source.flags.c_contiguous and source.nbytes <= target.nbytes
        if source.ctypes.data not in self._locked:
            source = source.copy()  # ordinary memory is staged before the call returns
        self.queue(lambda: ctypes.memmove(target.address, source.ctypes.data, source.nbytes) and None)

    def download(self, target: np.ndarray[Any, Any], source: Buffer) -> None:
        assert target.flags.c_contiguous and target.nbytes <= source.nbytes
        self.queue(lambda: ctypes.memmove(target.ctypes.data, source.address, target.nbytes) and None)

    def copy(self, target: Buffer, source: Buffer) -> None:
        assert source.nbytes <= target.nbytes
        self.queue(lambda: ctypes.memmove(target.address, source.address, source.nbytes) and None)

    def fill(self, target: Buffer, byte: int) -> None:
        self.queue(lambda: ctypes.memset(target.address, byte, target.nbytes) and None)

    def launch(self, kernel: str, threads: tuple[int, int, int], *arguments: Argument) -> None:
        self.launches.append(kernel)
        packed = [pack(argument) for argument in arguments]
        places = (ctypes.c_void_p * len(packed))(*(value.ctypes.data for value in packed))
        grid = (ctypes.c_uint * 3)(*grid_of(threads))
        block = (ctypes.c_uint * 3)(BLOCK, 1, 1)
        run = getattr(self._library, f"host_{kernel}")

        def work(keep: object = packed) -> None:
            run(grid, block, places, self._workers, self._seed)

        self.queue(work)

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        before, self._queue = self._queue, []
        work()
        recorded, self._queue = self._queue, before
        return lambda: self._queue.extend(recorded)

    def mark(self) -> HostMark:
        mark = HostMark(self)

        def work() -> None:
            mark.at = time.perf_counter()

        self.queue(work)
        return mark

    def synchronise(self) -> None:
        todo, self._queue = self._queue, []
        for work in todo:
            work()

    def close(self) -> None:
        self._memory.clear()
        self.closed = True

    def __enter__(self) -> HostCuda:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def view(buffer: Buffer, shape: tuple[int, ...], dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    """Look at the memory of a host device."""
    count = int(np.prod(shape))
    raw = (ctypes.c_uint8 * (count * np.dtype(dtype).itemsize)).from_address(buffer.address)
    return np.frombuffer(raw, dtype, count).reshape(shape)
