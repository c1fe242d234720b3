"""Every name of TensorRT that jetspect uses, and the versions that have it. One row a name; no row means everywhere is wrong.

``test_trt_contract.py`` reads the names out of the sources, so a row that is missing or not needed any more fails a test.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
NEWER = (99,)


@dataclass(frozen=True)
class Versions:
    """From one version on, up to but not including another."""

    since: tuple[int, ...] = (8, 6)
    until: tuple[int, ...] = NEWER

    def __contains__(self, version: str) -> bool:
        return self.since <= tuple(int(n) for n in version.split(".")) < self.until


ALL = Versions()
SINCE_10 = Versions(since=(10,))
UNTIL_11 = Versions(until=(11,))

SURFACE: dict[str, Versions] = {
    "Builder": ALL,
    "Builder.build_serialized_network": ALL,
    "Builder.create_builder_config": ALL,
    "Builder.create_network": ALL,
    "Builder.create_optimization_profile": ALL,
    "BuilderFlag.FP16": UNTIL_11,
    "BuilderFlag.INT8": UNTIL_11,
    "BuilderFlag.TF32": ALL,
    "DataType.UINT8": ALL,
    "Dims": ALL,
    "EngineInspector.get_engine_information": ALL,
    "IBuilderConfig": ALL,
    "IBuilderConfig.add_optimization_profile": ALL,
    "IBuilderConfig.builder_optimization_level": ALL,
    "IBuilderConfig.clear_flag": ALL,
    "IBuilderConfig.create_timing_cache": ALL,
    "IBuilderConfig.get_timing_cache": ALL,
    "IBuilderConfig.profiling_verbosity": ALL,
    "IBuilderConfig.progress_monitor": SINCE_10,
    "IBuilderConfig.set_flag": ALL,
    "IBuilderConfig.set_memory_pool_limit": ALL,
    "IBuilderConfig.set_timing_cache": ALL,
    "ICudaEngine": ALL,
    "ICudaEngine.create_engine_inspector": ALL,
    "ICudaEngine.create_execution_context": ALL,
    "ICudaEngine.get_tensor_dtype": ALL,
    "ICudaEngine.get_tensor_mode": ALL,
    "ICudaEngine.get_tensor_name": ALL,
    "ICudaEngine.get_tensor_shape": ALL,
    "ICudaEngine.num_io_tensors": ALL,
    "IExecutionContext": ALL,
    "IExecutionContext.execute_async_v3": ALL,
    "IExecutionContext.get_tensor_shape": ALL,
    "IExecutionContext.infer_shapes": ALL,
    "IExecutionContext.profiler": ALL,
    "IExecutionContext.set_input_shape": ALL,
    "IExecutionContext.set_tensor_address": ALL,
    "ILogger": ALL,
    "ILogger.__init__": ALL,
    "ILogger.log": ALL,
    "ILogger.Severity": ALL,
    "ILogger.Severity.ERROR": ALL,
    "ILogger.Severity.INFO": ALL,
    "ILogger.Severity.INTERNAL_ERROR": ALL,
    "ILogger.Severity.VERBOSE": ALL,
    "ILogger.Severity.WARNING": ALL,
    "INetworkDefinition": ALL,
    "IOptimizationProfile.set_shape": ALL,
    "IProfiler": ALL,
    "IProfiler.__init__": ALL,
    "IProfiler.report_layer_time": ALL,
    "IProgressMonitor": SINCE_10,
    "IProgressMonitor.__init__": SINCE_10,
    "IProgressMonitor.phase_finish": SINCE_10,
    "IProgressMonitor.phase_start": SINCE_10,
    "IProgressMonitor.step_complete": SINCE_10,
    "ITimingCache.serialize": ALL,
    "LayerInformationFormat.JSON": ALL,
    "MemoryPoolType.WORKSPACE": ALL,
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH": UNTIL_11,
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": SINCE_10,
    "OnnxParser": ALL,
    "OnnxParser.get_error": ALL,
    "OnnxParser.num_errors": ALL,
    "OnnxParser.parse": ALL,
    "ParserError.desc": ALL,
    "ParserError.node": ALL,
    "ParserError.node_name": SINCE_10,
    "ParserError.node_operator": SINCE_10,
    "ProfilingVerbosity.DETAILED": ALL,
    "Runtime": ALL,
    "Runtime.deserialize_cuda_engine": ALL,
    "TensorIOMode.INPUT": ALL,
}

# Gone in one of the versions, or never to be used: no source may name these.
NEVER = (
    "IInt8",
    "set_calibration_profile",
    "build_engine",
    "execute_async_v2",
    "max_workspace_size",
    "dynamic_range",
    "BuilderFlag.REFIT",
    "BF16",
)

# What variables and attributes of the sources hold.
OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "error": "ParserError",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "shape": "Dims",
}
# What TensorRT returns that is no object of its own.
PLAIN = {"plan", "told", "name", "dtype", "bound", "errors", "levels", "side"}


@dataclass(frozen=True)
class Use:
    """One name in a source; for a call the count of positional arguments and the keywords."""

    name: str
    where: str
    call: tuple[int, tuple[str, ...]] | None = None


def sources() -> list[Path]:
    """Every module that talks to TensorRT."""
    return [p for p in sorted((REPOSITORY / "runtime").rglob("*.py")) if "import tensorrt as trt" in p.read_text()]


def uses(path: Path) -> Iterator[Use]:
    """Yield every name of TensorRT in a source: chains on ``trt``, members of its objects, methods of its subclasses."""
    tree = ast.parse(path.read_text())
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner: set[int] = set()
    for node in ast.walk(tree):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                chain = _chain(base)
                if chain.startswith("trt."):
                    methods = [m for m in node.body if isinstance(m, ast.FunctionDef) and not m.name.startswith("_")]
                    yield from (Use(f"{chain[4:]}.{m.name}", where, (len(m.args.args) - 1, ())) for m in methods)
        if not isinstance(node, ast.Attribute) or id(node) in inner:
            continue
        inner |= {id(n) for n in ast.walk(node) if n is not node and isinstance(n, ast.Attribute)}
        name = _name(_chain(node))
        if name is None or name == "__version__":
            continue
        call = calls.get(id(node))
        yield Use(name, where, None if call is None else (len(call.args), tuple(k.arg or "**" for k in call.keywords)))


def unknown_targets(path: Path) -> list[str]:
    """Return variables that hold what TensorRT returned, but stand in neither table above."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        name = _name(_chain(node.value.func))
        for target in node.targets if name is not None and name != "__version__" else []:
            held = _chain(target).removeprefix("self.").removeprefix("_")
            if held not in OBJECTS and held not in PLAIN:
                found.append(f"{path.name}:{node.lineno}: {_chain(target)} = {name}(...)")
    return found


def _name(chain: str) -> str | None:
    """Turn a chain of attributes into a name of TensorRT; None where it is none."""
    if chain.startswith("trt."):
        return chain[4:]
    parts = chain.removeprefix("self.").removeprefix("_").split(".")
    return f"{OBJECTS[parts[0]]}.{parts[1]}" if len(parts) > 1 and parts[0] in OBJECTS else None


def _chain(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_chain(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
