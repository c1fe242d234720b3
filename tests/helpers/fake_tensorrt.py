"""A stand-in for the ``tensorrt`` package: the names that jetspect uses, as one version has them, on ONNX Runtime.

A serialized engine is a header with the version, and the ONNX bytes. It runs on host addresses. ``test_trt_contract.py`` checks
that these names exist in NVIDIA's own bindings, with these parameters.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort

from jetspect.runtime.onnx_scan import scan_onnx

MAGIC = b"fake engine\n"
# What puts work into a stream, by the stream's handle; whoever makes a device enters it here.
STREAMS: dict[int, Callable[[Callable[[], None]], None]] = {}
SEVERITIES = ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE")
DTYPES = ("FLOAT", "HALF", "INT8", "INT32", "BOOL", "UINT8")


@dataclass
class Faults:
    """What goes wrong, and what was asked for; a test sets and reads it."""

    start: str = ""  # neither builder nor runtime can be made, for this reason
    parser: list[str] = field(default_factory=list)
    builds: list[str] = field(default_factory=list)  # reasons of the next builds that return None
    context: str = ""
    address: bool = False
    execute: str = ""
    spoil: int = 0  # levels that every score is moved by
    dtype: str = "UINT8"
    inspector: str | None = None
    timings_refused: bool = False
    interrupt: bool = False  # Ctrl-C in the middle of a build
    network_flags: list[int] = field(default_factory=list)
    configs: list[dict[str, Any]] = field(default_factory=list)
    timings: list[bytes] = field(default_factory=list)


def make(version: str, faults: Faults | None = None) -> ModuleType:
    """Make a module that is put into ``sys.modules`` as ``tensorrt``."""
    wrong = faults or Faults()
    numbers = tuple(int(n) for n in version.split("."))
    trt = ModuleType("tensorrt")

    class ILogger:
        Severity = IntEnum("Severity", SEVERITIES, start=0)

        def __init__(self) -> None: ...

        def log(self, severity: Any, msg: str) -> None: ...

    def complain(logger: ILogger, said: str) -> None:
        logger.log(ILogger.Severity.ERROR, said)

    def start(logger: ILogger) -> None:
        if wrong.start:
            complain(logger, wrong.start)
            raise TypeError("pybind11::init(): factory function returned nullptr")

    class Dims(tuple[int, ...]):
        def __new__(cls, shape: tuple[int, ...]) -> Dims:
            return tuple.__new__(cls, shape)

    class IHostMemory(bytes):
        @property
        def nbytes(self) -> int:
            return len(self)

    class IProgressMonitor:
        def __init__(self) -> None: ...

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None: ...

        def step_complete(self, phase_name: str, step: int) -> bool:
            return True

        def phase_finish(self, phase_name: str) -> None: ...

    class IProfiler:
        def __init__(self) -> None: ...

        def report_layer_time(self, layer_name: str, ms: float) -> None: ...

    class ITimingCache:
        def __init__(self, data: bytes) -> None:
            self._data = data

        def serialize(self) -> IHostMemory:
            return IHostMemory(self._data + b"+1")

    class IOptimizationProfile:
        def __init__(self) -> None:
            self._shapes: dict[str, tuple[int, ...]] = {}

        def set_shape(self, input: str, min: Dims, opt: Dims, max: Dims) -> None:
            assert min == opt == max
            self._shapes[input] = opt

    class IBuilderConfig:
        def __init__(self) -> None:
            self.builder_optimization_level = 3
            self.profiling_verbosity: Any = None
            if numbers >= (10,):
                self.progress_monitor: Any = None
            self._flags = {"TF32"}
            self._workspace = 0
            self._profile: IOptimizationProfile | None = None
            self._timing: ITimingCache | None = None

        def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
            self._workspace = pool_size

        def set_flag(self, flag: Any) -> None:
            self._flags.add(flag.name)

        def clear_flag(self, flag: Any) -> None:
            self._flags.discard(flag.name)

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            self._profile = profile
            return 0

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
            return ITimingCache(serialized_timing_cache)

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            wrong.timings.append(cache._data)
            if wrong.timings_refused and cache._data:
                return False
            self._timing = cache
            return True

        def get_timing_cache(self) -> ITimingCache | None:
            return self._timing

    class INetworkDefinition:
        def __init__(self, logger: ILogger) -> None:
            self._logger = logger
            self._onnx = b""

    class ParserError:
        def __init__(self, said: str) -> None:
            self._said = said

        def desc(self) -> str:
            return self._said

        def node(self) -> int:
            return 7

        if numbers >= (10,):

            def node_name(self) -> str:
                return "/up/Resize"

            def node_operator(self) -> str:
                return "Resize"

    class OnnxParser:
        def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
            self._network = network

        def parse(self, model: bytes) -> bool:
            self._network._onnx = bytes(model)
            return not wrong.parser

        @property
        def num_errors(self) -> int:
            return len(wrong.parser)

        def get_error(self, index: int) -> ParserError:
            return ParserError(wrong.parser[index])

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            start(logger)
            self._logger = logger

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            wrong.network_flags.append(flags)
            return INetworkDefinition(self._logger)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
            assert config._profile is not None
            wrong.configs.append(
                {
                    "level": config.builder_optimization_level,
                    "workspace": config._workspace,
                    "flags": config._flags,
                    "verbosity": config.profiling_verbosity.name,
                }
            )
            monitor = getattr(config, "progress_monitor", None)
            if monitor is not None:
                monitor.phase_start("Building", None, 2)
                monitor.phase_start("Inside", "Building", 9)
                monitor.step_complete("Inside", 0)
                goes_on = monitor.step_complete("Building", 0)
                monitor.phase_finish("Building")
                if not goes_on:
                    return None
            if wrong.builds:
                complain(self._logger, wrong.builds.pop(0))
                return None
            (shape,) = config._profile._shapes.values()
            header = json.dumps({"version": version, "shape": shape}).encode()
            return IHostMemory(MAGIC + header + b"\n" + network._onnx)

    class IExecutionContext:
        def __init__(self, engine: ICudaEngine) -> None:
            self.profiler: IProfiler | None = None
            self._engine = engine
            self._addresses: dict[str, int] = {}

        def set_input_shape(self, name: str, shape: Dims) -> bool:
            assert isinstance(shape, Dims)
            return name == self._engine._input and tuple(shape) == self._engine._shape

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return not wrong.address

        def infer_shapes(self) -> list[str]:
            return []

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._engine.get_tensor_shape(name)

        def execute_async_v3(self, stream_handle: int) -> bool:
            if wrong.execute:
                complain(self._engine._logger, wrong.execute)
                return False
            STREAMS[stream_handle](self._execute)
            return True

        def _execute(self) -> None:
            names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
            tiles = _array(self._addresses[names[0]], self._engine._shape).copy()
            for name, answer in zip(names[1:], self._engine._session.run(None, {names[0]: tiles}), strict=True):
                moved = np.clip(answer.astype(np.int16) + wrong.spoil, 0, 255).astype(np.uint8)
                _array(self._addresses[name], answer.shape)[:] = moved
            if self.profiler is not None:
                self.profiler.report_layer_time("/enc/Conv", 0.5)
                self.profiler.report_layer_time("/head/Conv", 0.25)

    class EngineInspector:
        def get_engine_information(self, format: Any) -> str:
            types = {"Format": "LINEAR", "DataType": "Int8"} if numbers >= (11,) else {"Format/Datatype": "Int8"}
            layers = [
                {"Name": "in", "LayerType": "Reformat", "Inputs": [{"Name": "a", **types}]},
                {"Name": "a", "LayerType": "CaskConvolution", "Inputs": [{"Name": "a", **types}]},
                {
                    "Name": "b",
                    "LayerType": "CaskConvolution",
                    "Weights": {"Type": "Half"},
                    "Inputs": [{"Name": "b", **types}],
                },
            ]
            told = {"Layers": layers, ("I/O Tensors" if numbers >= (11,) else "Bindings"): []}
            return json.dumps(told) if wrong.inspector is None else wrong.inspector

    class ICudaEngine:
        def __init__(self, logger: ILogger, model: bytes, shape: tuple[int, ...]) -> None:
            info = scan_onnx(model)
            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = 1
            options.add_session_config_entry("session.disable_quant_qdq", "1")
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            self._logger, self._shape, self._input = logger, shape, info.inputs[0].name
            batch, height, width = shape[:3]
            self._tensors: dict[str, tuple[int, ...]] = {self._input: shape}
            for value in info.outputs:
                one = (batch, 1) if len(value.shape) == 2 else (batch, int(value.shape[1]), height, width)
                self._tensors[value.name] = one

        @property
        def num_io_tensors(self) -> int:
            return len(self._tensors)

        def get_tensor_name(self, index: int) -> str:
            return list(self._tensors)[index]

        def get_tensor_mode(self, name: str) -> Any:
            return trt.TensorIOMode.INPUT if name == self._input else trt.TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> Any:
            return trt.DataType[wrong.dtype]

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return self._tensors[name]

        def create_execution_context(self) -> IExecutionContext | None:
            if wrong.context:
                complain(self._logger, wrong.context)
                return None
            return IExecutionContext(self)

        def create_engine_inspector(self) -> EngineInspector:
            return EngineInspector()

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            start(logger)
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
            if not serialized_engine.startswith(MAGIC):
                complain(self._logger, "Serialization assertion magicTag == rt::kPLAN_MAGIC_TAG failed")
                return None
            header, _, model = serialized_engine[len(MAGIC) :].partition(b"\n")
            said = json.loads(header)
            if said["version"] != version:
                complain(self._logger, f"Version tag does not match: {said['version']} is not {version}")
                return None
            return ICudaEngine(self._logger, model, tuple(said["shape"]))

    flags = ("TF32", "REFIT") if numbers >= (11,) else ("FP16", "INT8", "TF32", "REFIT")
    typing = ("EXPLICIT_BATCH",) if numbers < (10,) else ("EXPLICIT_BATCH", "STRONGLY_TYPED")
    trt.BuilderFlag = IntEnum("BuilderFlag", flags, start=0)
    trt.NetworkDefinitionCreationFlag = IntEnum(
        "NetworkDefinitionCreationFlag", typing[-1:] if numbers >= (11,) else typing, start=0
    )
    trt.MemoryPoolType = IntEnum("MemoryPoolType", ("WORKSPACE",), start=0)
    trt.ProfilingVerbosity = IntEnum("ProfilingVerbosity", ("LAYER_NAMES_ONLY", "DETAILED", "NONE"), start=0)
    trt.TensorIOMode = IntEnum("TensorIOMode", ("NONE", "INPUT", "OUTPUT"), start=0)
    trt.DataType = IntEnum("DataType", DTYPES, start=0)
    trt.LayerInformationFormat = IntEnum("LayerInformationFormat", ("ONELINE", "JSON"), start=0)
    classes = [
        ILogger,
        Dims,
        IHostMemory,
        IProfiler,
        ITimingCache,
        IOptimizationProfile,
        IBuilderConfig,
        INetworkDefinition,
    ]
    classes += [ParserError, OnnxParser, Builder, IExecutionContext, EngineInspector, ICudaEngine, Runtime]
    classes += [IProgressMonitor] if numbers >= (10,) else []
    for cls in classes:
        setattr(trt, cls.__name__, cls)
    trt.__version__ = version
    return trt


def _array(address: int, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What lies at a host address."""
    memory = (ctypes.c_uint8 * int(np.prod(shape))).from_address(address)
    return np.frombuffer(memory, np.uint8).reshape(shape)
