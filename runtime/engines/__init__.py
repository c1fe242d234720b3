"""What executes a bundle: engines behind one small Protocol, opened by name and proven by the golden tiles."""

from __future__ import annotations

from jetspect.errors import EngineError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.golden import GoldenReport, check_golden
from jetspect.runtime.manifest import Precision


def open_engine(
    bundle: Bundle, *, kind: str = "onnxruntime", precision: Precision = "fp32", threads: int = 0
) -> tuple[Engine, GoldenReport]:
    """Load a bundle's graph into an engine and prove it on the golden tiles.

    Raises
    ------
    EngineError
        The bundle has no graph of that precision, or the engine cannot run it. Nothing else is tried in its place.
    GoldenMismatchError
        The engine's answers differ from the golden ones.
    """
    if precision not in bundle.manifest.graphs:
        have = ", ".join(bundle.manifest.graphs)
        raise EngineError(f"bundle {bundle.manifest.name} has no {precision} graph, it has {have}; choose one of these")
    if kind != "onnxruntime":
        raise EngineError(f"engine {kind!r} is not known; use onnxruntime")
    from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine

    engine = OnnxRuntimeEngine(bundle.graph(precision), precision=precision, threads=threads)
    try:
        return engine, check_golden(engine, bundle, precision)
    except BaseException:
        engine.close()
        raise
