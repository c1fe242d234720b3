"""A CUDA device through PyCUDA.

The device's primary context is used, the one that TensorRT and ONNX Runtime use too, so that all share memory and stream. A
station opens the device in one thread and inspects in another, and PyCUDA destroys nothing outside the thread that made it
unless the context is current. So nothing here is left to the garbage collector: events are used again, and page-locked memory,
graphs, module and stream go when they are given back or the device is closed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from jetspect.errors import EngineError
from jetspect.runtime.cuda.base import Argument, Array, Buffer, CudaInfo, Mark, Scalar
from jetspect.runtime.cuda.compiler import compiled_kernels
from jetspect.runtime.cuda.faults import errors, import_driver
from jetspect.runtime.cuda.graph import Graph, StreamRecorder, pop_context
from jetspect.runtime.cuda.launch import BLOCK, grid_of, pack

KERNELS = Path(__file__).parents[1] / "postprocess" / "kernels.cu"


class PyCudaMark:
    """An event in the stream; it is used again when nobody refers to the mark any more."""

    def __init__(self, cuda: PyCuda, event: Any) -> None:
        self._cuda, self._event = cuda, event

    def ms_since(self, earlier: Mark) -> float:
        return self._cuda.wait_ms(self._event, cast(PyCudaMark, earlier)._event)

    def __del__(self) -> None:
        self._cuda.recycle(self._event)


class PyCuda:
    """One CUDA device and one stream of it.

    Parameters
    ----------
    index
        Which device.
    kernels
        The CUDA source whose kernels :meth:`launch` runs; compiled at the first launch and kept in the user's cache.

    Raises
    ------
    MissingDependencyError
        PyCUDA is not installed.
    EngineError
        There is no driver, no such device, or it is not usable.
    """

    def __init__(self, index: int = 0, *, kernels: Path = KERNELS) -> None:
        self._driver = import_driver()
        self._kernels_source = kernels
        self._depth = threading.local()
        self._functions: dict[str, Any] = {}
        self._memory: dict[int, Any] = {}
        self._locked: dict[int, Any] = {}
        self._events: list[Any] = []
        self._graphs: list[Graph] = []
        self._in_flight: list[Array] = []
        self._module: Any = None
        self._stream: Any = None
        self._closed = False
        with errors("open the device"):
            self._driver.init()
            count = self._driver.Device.count()
            if not 0 <= index < count:
                raise EngineError(f"there is no CUDA device {index}, this machine has {count}; choose one from 0 on")
            self._device = self._driver.Device(index)
            self._context = self._device.retain_primary_context()
            try:
                with self.current():
                    self._stream = self._driver.Stream()
                self._info = self._describe()
            except BaseException:
                self.close()
                raise

    @property
    def info(self) -> CudaInfo:
        return self._info

    @property
    def stream(self) -> int:
        return int(self._stream.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        # Not for good: PyCUDA ends the process when a thread ends with a context on its stack.
        depth = getattr(self._depth, "held", 0)
        if self._closed:
            raise EngineError(f"the device {self._info} was closed; open it again")
        if not depth:
            self._context.push()
        self._depth.held = depth + 1
        try:
            yield
        finally:
            self._depth.held = depth
            if not depth:
                self._driver.Context.pop()

    def free_bytes(self) -> int:
        with self._calls("ask for free memory"):
            return int(self._driver.mem_get_info()[0])

    def alloc(self, nbytes: int) -> Buffer:
        with self._calls(f"give {nbytes / 2**20:.1f} MiB of memory"):
            memory = self._driver.mem_alloc(max(1, nbytes))
        buffer = Buffer(int(memory), nbytes)
        self._memory[buffer.address] = memory
        return buffer

    def free(self, buffer: Buffer) -> None:
        with self._calls("take memory back"):
            self._memory.pop(buffer.address).free()

    def host(self, shape: tuple[int, ...], dtype: type[Scalar]) -> tuple[npt.NDArray[Scalar], Buffer | None]:
        flags = self._driver.host_alloc_flags.DEVICEMAP if self._info.integrated else 0
        with self._calls(f"lock {np.prod(shape) * np.dtype(dtype).itemsize / 2**20:.1f} MiB of host memory"):
            array: npt.NDArray[Scalar] = self._driver.pagelocked_empty(shape, dtype, mem_flags=flags)
            self._locked[array.ctypes.data] = memory = cast(Any, array.base)
            seen = Buffer(int(memory.get_device_pointer()), array.nbytes) if self._info.integrated else None
        return array, seen

    def free_host(self, array: Array) -> None:
        with self._calls("take host memory back"):
            self._stream.synchronize()
            self._locked.pop(array.ctypes.data).free()

    def upload(self, target: Buffer, source: Array) -> None:
        _check_copy(source, target)
        with self._calls("copy to the device"):
            self._driver.memcpy_htod_async(target.address, source, self._stream)
        # Some devices read ordinary memory by themselves: it has to stay until they have.
        self._in_flight.append(source)

    def download(self, target: Array, source: Buffer) -> None:
        _check_copy(target, source)
        with self._calls("copy from the device"):
            self._driver.memcpy_dtoh_async(target, source.address, self._stream)

    def copy(self, target: Buffer, source: Buffer) -> None:
        with self._calls("copy on the device"):
            self._driver.memcpy_dtod_async(target.address, source.address, source.nbytes, self._stream)

    def fill(self, target: Buffer, byte: int) -> None:
        with self._calls("clear memory"):
            self._driver.memset_d8_async(target.address, byte, target.nbytes, self._stream)

    def launch(self, kernel: str, threads: tuple[int, int, int], *arguments: Argument) -> None:
        packed = [pack(argument) for argument in arguments]
        with self._calls(f"run {kernel}"):
            function = self._functions.get(kernel) or self._prepare(kernel, packed)
            values = [value.item() for value in packed]
            function.prepared_async_call(grid_of(threads), (BLOCK, 1, 1), self._stream, *values)

    def graph(self, work: Callable[[], None]) -> Callable[[], None]:
        with self._calls("record a graph"):
            graph = StreamRecorder(self.stream).record(work)
        self._graphs.append(graph)

        def replay() -> None:
            with self._calls("replay a graph"):
                graph.launch()

        return replay

    def mark(self) -> PyCudaMark:
        with self._calls("set a mark"):
            event = self._events.pop() if self._events else self._driver.Event()
            event.record(self._stream)
        return PyCudaMark(self, event)

    def wait_ms(self, event: Any, earlier: Any) -> float:
        """Wait for an event of a mark; return the milliseconds since another's."""
        with self._calls("finish its work", lost=True):
            event.synchronize()
            return float(event.time_since(earlier))

    def recycle(self, event: Any) -> None:
        """Take a mark's event back."""
        if not self._closed:
            self._events.append(event)

    def synchronise(self) -> None:
        with self._calls("finish its work", lost=True):
            self._stream.synchronize()
        self._in_flight.clear()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with errors("close the device"), ExitStack() as after:
            self._context.push()
            # Last of all; a context that is given back stays on the thread's stack of the driver, though not on PyCUDA's.
            after.callback(pop_context)
            after.callback(self._context.detach)
            with suppress(self._driver.Error):
                if self._stream is not None:
                    self._stream.synchronize()
            for graph in self._graphs:
                graph.close()
            for memory in (*self._memory.values(), *self._locked.values()):
                with suppress(self._driver.Error):
                    memory.free()
            # Their destructors run here and now, while the context is current.
            for kept in (self._graphs, self._memory, self._locked, self._events, self._functions, self._in_flight):
                kept.clear()
            self._module = self._stream = None

    def __enter__(self) -> PyCuda:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _describe(self) -> CudaInfo:
        version = self._driver.get_driver_version()
        return CudaInfo(
            name=self._device.name(),
            compute_capability=self._device.compute_capability(),
            integrated=bool(self._device.get_attribute(self._driver.device_attribute.INTEGRATED)),
            driver=(version // 1000, version % 1000 // 10),
            memory_bytes=int(self._device.total_memory()),
        )

    def _prepare(self, kernel: str, packed: list[npt.NDArray[Any]]) -> Any:
        if self._module is None:
            self._module = compiled_kernels(
                self._kernels_source,
                self._info.compute_capability,
                self._driver.module_from_buffer,
                self._driver.Error,
            )
        function = self._module.get_function(kernel)
        function.prepare([value.dtype for value in packed])
        self._functions[kernel] = function
        return function

    @contextmanager
    def _calls(self, to_do: str, *, lost: bool = False) -> Iterator[None]:
        if self._closed:
            raise EngineError(f"the device {self._info} was closed and cannot {to_do}; open it again")
        with errors(f"{to_do} on {self._info}", lost=lost), self.current():
            yield


def _check_copy(array: Array, buffer: Buffer) -> None:
    if not array.flags.c_contiguous or array.nbytes > buffer.nbytes:
        raise EngineError(
            f"a copy of {array.nbytes} bytes ({array.dtype} {array.shape}) needs a contiguous array and as much room on the "
            f"device, which has {buffer.nbytes}; this is a fault of jetspect, please report it"
        )
