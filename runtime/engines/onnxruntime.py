"""ONNX Runtime on the CPU: the engine of laptops, CI and devices without a GPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from jetspect.errors import EngineError, InputError
from jetspect.runtime.engines.base import U8, EngineInfo, require_tiles
from jetspect.runtime.engines.on_processor import ProcessorEngine

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeEngine(ProcessorEngine):
    """Executes a graph on the CPU; output buffers are allocated once per tile shape and reused.

    Parameters
    ----------
    model
        The ONNX file, or its bytes (as a verified bundle hands them out).
    threads
        Threads of one run; 0 takes every core this process may use.

    Raises
    ------
    EngineError
        The graph is corrupt, or takes and returns something else than uint8 tiles and scores (and a decision).
    """

    def __init__(self, model: Path | bytes, *, precision: str = "fp32", threads: int = 0) -> None:
        if threads < 0:
            raise InputError(f"engine threads must be 0 (all cores) or more, got {threads}")
        options = session_options(precision)
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        where = model.name if isinstance(model, Path) else "the graph"
        try:
            source: Any = str(model) if isinstance(model, Path) else model
            self._session = ort.InferenceSession(source, options, providers=[PROVIDER])
        except Exception as error:  # onnxruntime raises many unrelated types for a bad file
            raise EngineError(
                f"ONNX Runtime cannot load {where}: {first_line(error)}; export the bundle again"
            ) from error
        if self._session.get_providers() != [PROVIDER]:
            raise EngineError(f"ONNX Runtime runs on {self._session.get_providers()} instead of {PROVIDER}")
        self._input, self._output, self._second = signature(self._session, where)
        self._channels = int(self._input.shape[3])
        self._binding = self._session.io_binding()
        info = EngineInfo("onnxruntime", ort.__version__, f"cpu x{options.intra_op_num_threads}", precision)
        super().__init__(info, classes=int(self._output.shape[1]))

    @property
    def dynamic(self) -> bool:
        return not any(isinstance(size, int) for size in self._input.shape[:3])

    def run(self, tiles: U8) -> U8:
        require_tiles(tiles, self._channels)
        scores = self._scores_for(tiles)
        bind = self._binding
        bind.bind_input(self._input.name, "cpu", 0, np.uint8, tiles.shape, tiles.ctypes.data)
        bind.bind_output(self._output.name, "cpu", 0, np.uint8, scores.shape, scores.ctypes.data)
        if self._second is not None:
            decisions = self._decisions = np.empty((len(tiles), 1), np.uint8)
            bind.bind_output(self._second.name, "cpu", 0, np.uint8, decisions.shape, decisions.ctypes.data)
        try:
            self._session.run_with_iobinding(bind)
        except Exception as error:  # as above
            raise EngineError(f"ONNX Runtime failed on tiles {tiles.shape}: {first_line(error)}") from error
        return scores


def session_options(precision: str) -> Any:
    """Return what every session is opened with for a graph of a precision."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if precision in ("int8", "int8-trt8"):
        # These graphs are TensorRT's. Here every Q, DQ and convolution runs by itself and gives TensorRT's answer, slowly;
        # the integer kernels for x86 want another graph (int8-cpu) and saturate on processors without VNNI.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    return options


def signature(session: Any, where: str) -> tuple[Any, Any, Any | None]:
    """Return input, scores and, where there is one, the decision, after checking that all are uint8 and of our shapes."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) not in (1, 2):
        raise EngineError(
            f"{where} has {len(inputs)} inputs and {len(outputs)} outputs; a jetspect graph has one of each, or a decision "
            "as second output"
        )
    got, gives = inputs[0], outputs[0]
    if got.type != "tensor(uint8)" or len(got.shape) != 4 or got.shape[3] not in (1, 3):
        raise EngineError(f"{where} takes {got.type} {got.shape}; a jetspect graph takes uint8 N x H x W x 1 or 3")
    if gives.type != "tensor(uint8)" or len(gives.shape) != 4 or not isinstance(gives.shape[1], int):
        raise EngineError(f"{where} returns {gives.type} {gives.shape}; a jetspect graph returns uint8 N x K x H x W")
    second = outputs[1] if len(outputs) == 2 else None
    if second is not None and (second.type != "tensor(uint8)" or second.shape[1:] != [1]):
        raise EngineError(f"{where} also returns {second.type} {second.shape}; a decision is uint8 N x 1")
    return got, gives, second


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
