"""ONNX Runtime on a CUDA device: the GPU engine that needs no build and runs on any CUDA machine.

Nothing is computed on the processor, however little: a graph with an operator that CUDA has no kernel for is refused.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.cuda.base import Buffer, Cuda
from jetspect.runtime.engines.base import U8, EngineInfo
from jetspect.runtime.engines.onnxruntime import PROVIDER as CPU_PROVIDER
from jetspect.runtime.engines.onnxruntime import first_line, session_options, signature


class OnnxRuntimeCudaEngine:
    """Runs a graph for one tile shape in the stream of a CUDA device. Not thread-safe, as its device.

    Parameters
    ----------
    model
        The bytes of the ONNX graph, as a verified bundle hands them out.
    shape
        N, H, W, C of the tiles.
    owns_cuda
        Whether closing the engine closes the device.

    Raises
    ------
    MissingDependencyError
        The installed ONNX Runtime has no CUDA.
    EngineError
        The graph is corrupt, is none of ours, or cannot run on the device alone.
    """

    PROVIDER: ClassVar[str] = "CUDAExecutionProvider"
    DEVICE: ClassVar[str] = "cuda"

    def __init__(
        self,
        model: bytes,
        *,
        cuda: Cuda,
        shape: tuple[int, int, int, int],
        precision: str = "fp32",
        owns_cuda: bool = False,
    ) -> None:
        self._cuda, self._owns_cuda, self._shape = cuda, owns_cuda, shape
        self._buffers: list[Buffer] = []
        self._closed = False
        self._decisions: U8 | None = None
        self._info = EngineInfo("onnxruntime-cuda", ort.__version__, str(cuda.info), precision)
        try:
            self._session = self._open(model)
            self._bind()
        except BaseException:
            self.close()
            raise

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
                f"the engine was opened for contiguous uint8 tiles {self._shape}, got {tiles.dtype} {tiles.shape}; "
                "give it full batches, or open it for that shape"
            )
        self._cuda.upload(self._tiles, tiles)
        self.enqueue()
        self._cuda.download(self._host, self._scores)
        if self._decided is not None and self._host_decided is not None:
            self._cuda.download(self._host_decided, self._decided)
            self._decisions = self._host_decided
        self._cuda.synchronise()
        return self._host

    def enqueue(self) -> None:
        if self._closed:
            raise EngineError("the ONNX Runtime engine is closed; open it again")
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # onnxruntime raises many unrelated types
            raise EngineError(
                f"ONNX Runtime failed on tiles {self._shape}: {first_line(error)}; choose a smaller tile or batch if the "
                "device has too little memory"
            ) from error

    def close(self) -> None:
        """Give memory back, and the device if it is ours; may be called again."""
        if self._closed:
            return
        self._closed = True
        for part in ("_binding", "_session", "_decisions"):
            self.__dict__.pop(part, None)
        try:
            while self._buffers:
                self._cuda.free(self._buffers.pop())
        finally:
            if self._owns_cuda:
                self._cuda.close()

    def __enter__(self) -> OnnxRuntimeCudaEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, model: bytes) -> Any:
        if self.PROVIDER not in ort.get_available_providers():
            raise MissingDependencyError(
                f"ONNX Runtime with CUDA ({ort.__version__} has {', '.join(ort.get_available_providers())})",
                "the engine onnxruntime-cuda",
                "pip uninstall onnxruntime && pip install onnxruntime-gpu",
            )
        options = session_options(self._info.precision)
        # With every size known nothing is left to compute about shapes, which ONNX Runtime would do on the processor.
        for name, size in zip("NHW", self._shape, strict=False):
            options.add_free_dimension_override_by_name(name, size)
        settings = {}
        if self.PROVIDER != CPU_PROVIDER:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            settings = {"user_compute_stream": str(self._cuda.stream)}
        try:
            session = ort.InferenceSession(model, options, providers=[(self.PROVIDER, settings)])
        except Exception as error:  # as above
            raise EngineError(
                f"ONNX Runtime cannot run this graph on {self._cuda.info} alone: {first_line(error)}; choose another "
                "precision, or the engine onnxruntime for the processor"
            ) from error
        session.disable_fallback()
        if session.get_providers()[0] != self.PROVIDER:
            raise EngineError(
                f"ONNX Runtime runs on {session.get_providers()[0]} instead of {self.PROVIDER}, its CUDA libraries do not load: "
                "check that CUDA and cuDNN are those that this onnxruntime-gpu was built for"
            )
        return session

    def _bind(self) -> None:
        """Make buffers on the device and tell ONNX Runtime where they are; their addresses never change."""
        taken, given, decision = signature(self._session, "the graph")
        n, h, w, _ = self._shape
        scores = n, int(given.shape[1]), h, w
        self._tiles, self._scores = self._alloc(self._shape), self._alloc(scores)
        self._host = self._cuda.host(scores, np.uint8)[0]
        self._decided = None if decision is None else self._alloc((n, 1))
        self._host_decided = None if decision is None else self._cuda.host((n, 1), np.uint8)[0]
        self._binding = self._session.io_binding()
        self._binding.bind_input(taken.name, self.DEVICE, 0, np.uint8, self._shape, self._tiles.address)
        self._binding.bind_output(given.name, self.DEVICE, 0, np.uint8, scores, self._scores.address)
        if decision is not None and self._decided is not None:
            self._binding.bind_output(decision.name, self.DEVICE, 0, np.uint8, (n, 1), self._decided.address)
        self._options = ort.RunOptions()
        # The stream is ours: what follows waits for the run by itself, the processor need not.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def _alloc(self, shape: tuple[int, ...]) -> Buffer:
        self._buffers.append(self._cuda.alloc(int(np.prod(shape))))
        return self._buffers[-1]
