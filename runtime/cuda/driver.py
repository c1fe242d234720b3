"""A CUDA device through PyCUDA.

The device's primary context is used, the one that TensorRT and ONNX Runtime use too, so that all share memory and stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.cuda.base import Argument, Array, Buffer, CudaInfo, Mark, Scalar
from jetspect.runtime.cuda.compiler import compile_kernels
from jetspect.runtime.cuda.graph import StreamRecorder
from jetspect.runtime.cuda.launch import BLOCK, grid_of, pack
from jetspect.runtime.private import private_folder

KERNELS = Path(__file__).parents[1] / "postprocess" / "kernels.cu"
_NO_DRIVER = (
    "no CUDA driver: libcuda.so.1 cannot be loaded ({}); on a Jetson flash JetPack, elsewhere install NVIDIA's driver"
)


class PyCudaMark:
    """An event in the stream."""

    def __init__(self, event: Any) -> None:
        self._event = event

    def ms_since(self, earlier: Mark) -> float:
        with _errors("wait for the device"):
            self._event.synchronize()
            return float(self._event.time_since(cast(PyCudaMark, earlier)._event))


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
        self._driver = _import_driver()
        self._kernels_source = kernels
        self._functions: dict[str, Any] = {}
        self._owned: dict[int, Any] = {}
        self._closed = False
        with _errors("open the device"):
            self._driver.init()
            count = self._driver.Device.count()
            if not 0 <= index < count:
                raise EngineError(f"there is no CUDA device {index}, this machine has {count}; choose one from 0 on")
            self._device = self._driver.Device(index)
            self._context = self._device.retain_primary_context()
            with self._current():
                self._stream = self._driver.Stream()
            attributes = self._driver.device_attribute
            version = self._driver.get_driver_version()
            self._info = CudaInfo(
                name=self._device.name(),
                compute_capability=self._device.compute_capability(),
                integrated=bool(self._device.get_attribute(attributes.INTEGRATED)),
                driver=(version // 1000, version % 1000 // 10),
                memory_bytes=int(self._device.total_memory()),
            )

    @property
    def info(self) -> CudaInfo:
        return self._info

    @property
    def stream(self) -> int:
        return int(self._stream.handle)

    def free_bytes(self) -> int:
        with self._calls("ask for free memory"):
            return int(self._driver.mem_get_info()[0])

    def alloc(self, nbytes: int) -> Buffer:
        with self._calls(f"give {nbytes / 2**20:.1f} MiB of memory"):
            memory = self._driver.mem_alloc(max(1, nbytes))
        buffer = Buffer(int(memory), nbytes)
        self._owned[buffer.address] = memory
        return buffer

    def free(self, buffer: Buffer) -> None:
        with self._calls("take memory back"):
            self._owned.pop(buffer.address).free()

    def host(self, shape: tuple[int, ...], dtype: type[Scalar]) -> tuple[npt.NDArray[Scalar], Buffer | None]:
        flags = self._driver.host_alloc_flags.DEVICEMAP if self._info.integrated else 0
        with self._calls(f"lock {int(np.prod(shape)) / 2**20:.1f} Mi values of host memory"):
            array: npt.NDArray[Scalar] = self._driver.pagelocked_empty(shape, dtype, mem_flags=flags)
            if not self._info.integrated:
                return array, None
            return array, Buffer(int(array.base.get_device_pointer()), array.nbytes)  # type: ignore[union-attr]

    def upload(self, target: Buffer, source: Array) -> None:
        _check_copy(source, target)
        with self._calls("copy to the device"):
            self._driver.memcpy_htod_async(target.address, source, self._stream)

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
            return StreamRecorder(self.stream).record(work)

    def mark(self) -> PyCudaMark:
        with self._calls("set a mark"):
            event = self._driver.Event()
            event.record(self._stream)
        return PyCudaMark(event)

    def synchronise(self) -> None:
        with self._calls("finish its work"):
            self._stream.synchronize()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with _errors("close the device"):
            with self._current():
                self._stream.synchronize()
                for memory in self._owned.values():
                    memory.free()
            self._owned.clear()
            self._functions.clear()
            self._context.detach()

    def __enter__(self) -> PyCuda:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _prepare(self, kernel: str, packed: list[npt.NDArray[Any]]) -> Any:
        if not self._functions:
            code = compile_kernels(self._kernels_source, self._info.compute_capability, private_folder("kernels"))
            self._module = self._driver.module_from_buffer(code)
        function = self._module.get_function(kernel)
        function.prepare([value.dtype for value in packed])
        self._functions[kernel] = function
        return function

    @contextmanager
    def _current(self) -> Iterator[None]:
        # For every call anew: PyCUDA ends the process when a thread ends with a context on its stack.
        self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    @contextmanager
    def _calls(self, to_do: str) -> Iterator[None]:
        if self._closed:
            raise EngineError(f"the device {self._info} was closed and cannot {to_do}; open it again")
        with _errors(f"{to_do} on {self._info}"), self._current():
            yield


def _import_driver() -> Any:
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "PyCUDA",
            "running on a CUDA device",
            "pip install 'jetspect[cuda]'  # needs nvcc: /usr/local/cuda/bin on the PATH",
        ) from error
    except ImportError as error:  # the package is there, the driver's library is not
        raise EngineError(_NO_DRIVER.format(error)) from error
    return driver


@contextmanager
def _errors(to_do: str) -> Iterator[None]:
    """Turn PyCUDA's errors into ours."""
    import pycuda.driver as driver

    try:
        yield
    except driver.MemoryError as error:
        raise EngineError(
            f"CUDA cannot {to_do}: {error}; close what else uses the GPU, or choose a smaller tile or batch"
        ) from error
    except driver.Error as error:
        raise EngineError(f"CUDA cannot {to_do}: {error}; see dmesg and nvidia-smi (tegrastats on a Jetson)") from error


def _check_copy(array: Array, buffer: Buffer) -> None:
    if not array.flags.c_contiguous or array.nbytes > buffer.nbytes:
        raise EngineError(
            f"a copy of {array.nbytes} bytes ({array.dtype} {array.shape}) needs a contiguous array and as much room on the "
            f"device, which has {buffer.nbytes}; this is a fault of jetspect, please report it"
        )
