"""OpenVINO on the CPU: often the faster engine on processors of Intel and AMD."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from jetspect.errors import EngineError, InputError, MissingDependencyError
from jetspect.runtime.engines.base import U8, EngineInfo, require_tiles
from jetspect.runtime.engines.on_processor import ProcessorEngine


class OpenVinoEngine(ProcessorEngine):
    """Executes a graph on the CPU in single precision; memory of tiles and scores is shared with OpenVINO, not copied.

    OpenVINO may compute in BF16 or FP16 by itself where a processor is faster at it; that is switched off. The integer graphs
    run on its integer kernels, which saturate on processors without VNNI: the golden tiles then refuse them.

    Parameters
    ----------
    model
        The ONNX file, or its bytes (as a verified bundle hands them out).
    threads
        Threads of one run; 0 takes every core this process may use.

    Raises
    ------
    MissingDependencyError
        OpenVINO is not installed.
    EngineError
        The graph is corrupt, or takes and returns something else than uint8 tiles and scores (and a decision).
    """

    def __init__(self, model: Path | bytes, *, precision: str = "fp32", threads: int = 0) -> None:
        if threads < 0:
            raise InputError(f"engine threads must be 0 (all cores) or more, got {threads}")
        self._ov = require_openvino()
        threads = threads or len(os.sched_getaffinity(0))
        where = model.name if isinstance(model, Path) else "the graph"
        data = model.read_bytes() if isinstance(model, Path) else model
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "EXECUTION_MODE_HINT": "ACCURACY",
        }
        try:
            core = self._ov.Core()
            read = core.read_model(data, b"")
            self._channels, classes, self._decides, self._dynamic = _signature(read, where)
            compiled = core.compile_model(read, "CPU", options)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load {where}: {_reason(error)}; export the bundle again") from error
        devices = compiled.get_property("EXECUTION_DEVICES")
        if list(devices) != ["CPU"]:
            raise EngineError(f"OpenVINO runs on {', '.join(map(str, devices))} instead of the CPU")
        version = str(self._ov.__version__).split("-")[0]
        super().__init__(EngineInfo("openvino", version, f"cpu x{threads}", precision), classes=classes)

    @property
    def dynamic(self) -> bool:
        return self._dynamic

    def run(self, tiles: U8) -> U8:
        require_tiles(tiles, self._channels)
        scores = self._scores_for(tiles)
        tensor = self._ov.Tensor
        if not tiles.flags.writeable:  # it is not written to, but shared memory must be
            tiles = tiles.copy()
        try:
            self._request.set_input_tensor(tensor(tiles, shared_memory=True))
            self._request.set_output_tensor(0, tensor(scores, shared_memory=True))
            if self._decides:
                self._decisions = np.empty((len(tiles), 1), np.uint8)
                self._request.set_output_tensor(1, tensor(self._decisions, shared_memory=True))
            self._request.infer()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on tiles {tiles.shape}: {_reason(error)}") from error
        return scores


def require_openvino() -> Any:
    """Return the module ``openvino``."""
    try:
        import openvino
    except ImportError as error:
        raise MissingDependencyError("openvino", "the engine openvino", "pip install 'jetspect[openvino]'") from error
    return openvino


def _signature(model: Any, where: str) -> tuple[int, int, bool, bool]:
    """Return channels, classes, whether there is a decision, and whether any size is taken; all uint8 and of our shapes."""
    inputs, outputs = model.inputs, model.outputs
    if len(inputs) != 1 or len(outputs) not in (1, 2):
        raise EngineError(
            f"{where} has {len(inputs)} inputs and {len(outputs)} outputs; a jetspect graph has one of each, or a decision "
            "as second output"
        )
    taken, given = _sizes(inputs[0]), _sizes(outputs[0])
    kind = inputs[0].element_type.get_type_name()
    if kind != "u8" or len(taken) != 4 or taken[3] not in (1, 3):
        raise EngineError(f"{where} takes {kind} {taken}; a jetspect graph takes uint8 N x H x W x 1 or 3")
    kind = outputs[0].element_type.get_type_name()
    if kind != "u8" or len(given) != 4 or given[1] is None:
        raise EngineError(f"{where} returns {kind} {given}; a jetspect graph returns uint8 N x K x H x W")
    if len(outputs) == 2:
        kind, decision = outputs[1].element_type.get_type_name(), _sizes(outputs[1])
        if kind != "u8" or decision[1:] != [1]:
            raise EngineError(f"{where} also returns {kind} {decision}; a decision is uint8 N x 1")
    return int(taken[3] or 0), int(given[1]), len(outputs) == 2, not any(taken[:3])


def _reason(error: Exception) -> str:
    """Return what OpenVINO says, without the places in its source that it says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return (lines[-1] if lines else type(error).__name__)[:200]


def _sizes(port: Any) -> list[int | None]:
    return [size.get_length() if size.is_static else None for size in port.partial_shape]
