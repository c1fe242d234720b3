"""TensorRT: the engine of Jetson devices, for one tile shape and batch, in the stream of one CUDA device.

Not yet run on a board: it was checked against the Python bindings of TensorRT 8.6, 10.3, 10.13 and 11.4 without their
libraries, and run on a stand-in for them that computes with ONNX Runtime.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetspect.runtime.cuda.base import Cuda
from jetspect.runtime.engines.base import EngineInfo
from jetspect.runtime.engines.layers import LayerSummary, summarise
from jetspect.runtime.engines.on_device import OnDevice
from jetspect.runtime.engines.trt_binding import TrtLog, require_tensorrt
from jetspect.runtime.engines.trt_tensors import REBUILD, check_tensors

if TYPE_CHECKING:
    import tensorrt as trt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LayerTime:
    """Mean time of one layer, as TensorRT's profiler reports it."""

    name: str
    ms: float


class TensorRtEngine(OnDevice):
    """Runs one serialized engine. Not thread-safe: one thread makes all calls, as with its device.

    Parameters
    ----------
    plan
        The serialized engine. It is executed: hand in only what :class:`EngineStore` returned or this process built.
    shape
        N, H, W, C of the tiles that it was built for.
    owns_cuda
        Whether closing the engine closes the device.
    cuda_graph
        Record one run as a CUDA graph and replay it, which saves launches where kernels are short.

    Raises
    ------
    MissingDependencyError
        TensorRT is not installed.
    EngineError
        The engine is for another TensorRT or device, is damaged, is none of ours, or does not fit in the memory.
    """

    def __init__(
        self,
        plan: bytes,
        *,
        cuda: Cuda,
        shape: tuple[int, int, int, int],
        precision: str,
        owns_cuda: bool = False,
        cuda_graph: bool = False,
    ) -> None:
        text, _ = require_tensorrt()
        super().__init__(EngineInfo("tensorrt", text, str(cuda.info), precision), cuda, shape, owns_cuda=owns_cuda)
        self._log = TrtLog()
        self._replay: Callable[[], None] | None = None
        try:
            with cuda.current():
                self._runtime, self._engine = self._load(plan)
                self._tensors = check_tensors(self._engine, shape)
                self._make_buffers(self._tensors.scores_shape, decides=self._tensors.decision is not None)
                self._context = self._open_context()
                if cuda_graph:
                    self._replay = self._record()
        except BaseException:
            self.close()
            raise

    def layer_times(self, runs: int = 10) -> list[LayerTime]:
        """Time every layer over what lies in the tiles now, as the mean of some runs. Timing slows a run down."""
        import tensorrt as trt

        spent: dict[str, float] = {}
        held_back = self._log.holding_back

        class Profiler(trt.IProfiler):  # type: ignore[misc]  # Any without TensorRT
            def __init__(self) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                with held_back():
                    spent[layer_name] = spent.get(layer_name, 0.0) + ms

        # In a context of its own, so that the one that inspects is never slowed down. The profiler must outlive it.
        profiler = Profiler()
        with self._cuda.current():
            context = self._open_context()
            context.profiler = profiler
            for _ in range(runs):
                self._execute(context)
                self._cuda.synchronise()
            del context
        return [LayerTime(name, ms / runs) for name, ms in spent.items()]

    def layers(self) -> LayerSummary | None:
        """Ask the inspector in which precision the convolutions run; None where its answer is not understood."""
        import tensorrt as trt

        inspector = self._engine.create_engine_inspector()
        if inspector is None:
            return None
        told = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        summary = summarise(told) if isinstance(told, str) else None
        if summary is None:
            log.info("the engine inspector's answer is not understood; precisions of layers are not known")
        return summary

    def _launch(self) -> None:
        if self._replay is not None:
            self._replay()
        else:
            self._execute(self._context)

    def _release(self) -> None:
        # In this order: a context borrows from its engine, an engine from its runtime.
        for part in ("_replay", "_context", "_engine", "_runtime"):
            self.__dict__.pop(part, None)

    def _load(self, plan: bytes) -> tuple[trt.Runtime, trt.ICudaEngine]:
        import tensorrt as trt

        try:
            runtime = trt.Runtime(self._log.logger)
        except (TypeError, RuntimeError):  # how pybind11 says that there is none
            self._log.fail("TensorRT cannot start", "check that the GPU works: nvidia-smi, or tegrastats on Jetson")
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            self._log.fail("TensorRT cannot load the engine", f"it was built by another version or device: {REBUILD}")
        return runtime, engine

    def _open_context(self) -> trt.IExecutionContext:
        """Make a context that reads the tiles and writes the scores; its addresses never change."""
        import tensorrt as trt

        context = self._engine.create_execution_context()
        if context is None:
            self._log.fail("TensorRT cannot prepare the engine", "take a smaller tile or batch, or free device memory")
        names = self._tensors
        bound = context.set_input_shape(names.tiles, trt.Dims(list(self._shape)))
        bound = context.set_tensor_address(names.tiles, self._tiles.address) and bound
        bound = context.set_tensor_address(names.scores, self._scores.address) and bound
        if names.decision is not None and self._decided is not None:
            bound = context.set_tensor_address(names.decision, self._decided.address) and bound
        if not bound or context.infer_shapes():
            self._log.fail(f"TensorRT refuses tiles {self._shape} or their memory", REBUILD)
        # The engine writes as much as it likes; the buffers were made for this.
        if tuple(context.get_tensor_shape(names.scores)) != names.scores_shape:
            self._log.fail(f"the engine's scores are not {names.scores_shape}", REBUILD)
        return context

    def _execute(self, context: trt.IExecutionContext) -> None:
        if not context.execute_async_v3(self._cuda.stream):
            self._log.fail(
                "TensorRT cannot run the engine", "see its messages with -v, and build it again if they persist"
            )

    def _record(self) -> Callable[[], None]:
        """Record one run. The first run may still allocate, which a recording does not allow."""
        self._execute(self._context)
        self._cuda.synchronise()
        return self._cuda.graph(lambda: self._execute(self._context))
