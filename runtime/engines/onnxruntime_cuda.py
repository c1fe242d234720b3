"""ONNX Runtime on a CUDA device: the GPU engine that needs no build and runs on any CUDA machine.

Nothing is computed on the processor, however little: a graph with an operator that CUDA has no kernel for is refused.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort

from jetspect.errors import EngineError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.cuda.base import Cuda
from jetspect.runtime.engines.base import EngineInfo
from jetspect.runtime.engines.on_device import OnDevice
from jetspect.runtime.engines.onnxruntime import PROVIDER as CPU_PROVIDER
from jetspect.runtime.engines.onnxruntime import first_line, session_options, signature
from jetspect.runtime.engines.options import DeviceOptions, open_cuda, prove, tile_shape
from jetspect.runtime.golden import GoldenReport
from jetspect.runtime.manifest import Precision


class OnnxRuntimeCudaEngine(OnDevice):
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
        info = EngineInfo("onnxruntime-cuda", ort.__version__, str(cuda.info), precision)
        super().__init__(info, cuda, shape, owns_cuda=owns_cuda)
        try:
            with cuda.current():
                self._session = self._open(model)
                self._bind()
        except BaseException:
            self.close()
            raise

    def _launch(self) -> None:
        try:
            self._session.run_with_iobinding(self._binding, self._options)
        except Exception as error:  # onnxruntime raises many unrelated types
            raise EngineError(
                f"ONNX Runtime failed on tiles {self._shape}: {first_line(error)}; choose a smaller tile or batch if the "
                "device has too little memory"
            ) from error

    def _release(self) -> None:
        for part in ("_binding", "_session"):
            self.__dict__.pop(part, None)

    def _open(self, model: bytes) -> Any:
        _require_provider(self.PROVIDER)
        options = session_options(self._info.precision)
        # With every size known nothing is left to compute about shapes, which ONNX Runtime would do on the processor.
        for name, size in zip("NHW", self._shape, strict=False):
            options.add_free_dimension_override_by_name(name, size)
        settings = {}
        if self.PROVIDER != CPU_PROVIDER:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            settings = {"user_compute_stream": str(self._cuda.stream)}
        try:
            providers = [(self.PROVIDER, settings)]
            # Its own fallback would print to stdout and go on with the processor.
            session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
        except Exception as error:  # as above
            # Where CUDA's or cuDNN's libraries do not load, it says that operators are assigned to the processor.
            raise EngineError(
                f"ONNX Runtime cannot run this graph on {self._cuda.info} alone: {first_line(error)}; check that CUDA and "
                "cuDNN are those that this onnxruntime-gpu was built for, else choose another precision"
            ) from error
        if session.get_providers()[0] != self.PROVIDER:
            raise EngineError(
                f"ONNX Runtime runs on {session.get_providers()[0]} instead of {self.PROVIDER}, its CUDA libraries fail: "
                "check that CUDA and cuDNN are those that this onnxruntime-gpu was built for"
            )
        return session

    def _bind(self) -> None:
        """Make buffers on the device and tell ONNX Runtime where they are; their addresses never change."""
        taken, given, decision = signature(self._session, "the graph")
        n, h, w, _ = self._shape
        scores = n, int(given.shape[1]), h, w
        self._make_buffers(scores, decides=decision is not None)
        self._binding = self._session.io_binding()
        self._binding.bind_input(taken.name, self.DEVICE, 0, np.uint8, self._shape, self._tiles.address)
        self._binding.bind_output(given.name, self.DEVICE, 0, np.uint8, scores, self._scores.address)
        if decision is not None and self._decided is not None:
            self._binding.bind_output(decision.name, self.DEVICE, 0, np.uint8, (n, 1), self._decided.address)
        self._options = ort.RunOptions()
        # The stream is ours: what follows waits for the run by itself, the processor need not.
        self._options.add_run_config_entry("disable_synchronize_execution_providers", "1")


def open_cuda_engine(
    bundle: Bundle, precision: Precision, options: DeviceOptions
) -> tuple[OnnxRuntimeCudaEngine, GoldenReport]:
    """Load a graph on the device and prove it. Closing the engine closes the device.

    Raises
    ------
    MissingDependencyError, EngineError
        As :class:`OnnxRuntimeCudaEngine`; and MissingDependencyError where PyCUDA is not installed.
    GoldenMismatchError
        It does not reproduce the golden tiles.
    """
    shape = tile_shape(bundle.manifest, options)
    _require_provider(OnnxRuntimeCudaEngine.PROVIDER)
    with ExitStack() as opened:
        cuda = opened.enter_context(open_cuda())
        engine = OnnxRuntimeCudaEngine(
            bundle.graph(precision), cuda=cuda, shape=shape, precision=precision, owns_cuda=True
        )
        opened.pop_all()  # from here on the engine closes the device
        opened.push(engine)
        report = prove(engine, bundle, precision)
        opened.pop_all()
        return engine, report


def _require_provider(provider: str) -> None:
    have = ort.get_available_providers()
    if provider not in have:
        raise MissingDependencyError(
            f"ONNX Runtime with CUDA ({ort.__version__} has {', '.join(have)})",
            "the engine onnxruntime-cuda",
            "pip uninstall onnxruntime && pip install onnxruntime-gpu",
        )
