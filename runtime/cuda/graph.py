"""Record what is queued in a stream as a CUDA graph. PyCUDA has no such call, so the driver's own library is asked."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from jetspect.errors import EngineError

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on allocating meanwhile.
_THREAD_LOCAL = 1


class Graph:
    """Work that was recorded."""

    def __init__(self, library: ctypes.CDLL, stream: ctypes.c_void_p, executable: ctypes.c_void_p) -> None:
        self._library, self._stream, self._executable = library, stream, executable

    def launch(self) -> None:
        """Queue all of it at once."""
        _check(self._library.cuGraphLaunch(self._executable, self._stream), "launch a graph")

    def close(self) -> None:
        """Destroy it, with the device's context current."""
        self._library.cuGraphExecDestroy(self._executable)


class StreamRecorder:
    """Records graphs from one stream, given by its handle."""

    def __init__(self, stream: int, library: str = "libcuda.so.1") -> None:
        self._stream = ctypes.c_void_p(stream)
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise EngineError(f"{library} cannot be loaded ({error}): install NVIDIA's driver") from error

    def record(self, work: Callable[[], None]) -> Graph:
        """Call ``work`` once, without its effects, and return what repeats it.

        Raises
        ------
        EngineError
            The work holds something that cannot be recorded (a wait, an allocation), or the driver is older than CUDA 11.4.
        """
        library = self._library
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        _check(library.cuStreamBeginCapture_v2(self._stream, _THREAD_LOCAL), "begin to record a graph")
        try:
            try:
                work()
            finally:
                ended = library.cuStreamEndCapture(self._stream, ctypes.byref(graph))
            _check(ended, "record a graph of this work")
            made = library.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
            _check(made, "make a graph of this work")
        finally:
            if graph:
                library.cuGraphDestroy(graph)
        return Graph(library, self._stream, executable)


def pop_context() -> None:
    """Take the current context off this thread's stack in the driver, past PyCUDA."""
    ctypes.CDLL("libcuda.so.1").cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def _check(result: int, to_do: str) -> None:
    if result:
        raise EngineError(f"CUDA cannot {to_do}: error {result}; switch CUDA graphs off for this engine")
