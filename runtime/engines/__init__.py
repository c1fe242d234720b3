"""What executes a bundle: engines behind one small Protocol, opened by name and proven by the golden tiles."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from jetspect.errors import EngineError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.golden import GoldenReport, check_foreground, check_golden
from jetspect.runtime.manifest import Precision


def open_engine(
    bundle: Bundle, *, kind: str = "onnxruntime", precision: Precision = "fp32", threads: int = 0
) -> tuple[Engine, GoldenReport]:
    """Load a bundle's graph into an engine and prove it on the golden tiles; of a two-stage bundle both graphs.

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

    with ExitStack() as opened:
        engine = opened.enter_context(OnnxRuntimeEngine(bundle.graph(precision), precision=precision, threads=threads))
        report = check_golden(engine, bundle, precision)
        if bundle.manifest.foreground is None:
            opened.pop_all()  # from here on the caller closes it
            return engine, report
        graph = bundle.foreground_graph(precision)
        first = opened.enter_context(OnnxRuntimeEngine(graph, precision=precision, threads=threads))
        report = replace(report, foreground=check_foreground(first, bundle, precision))
        opened.pop_all()
        return StagedEngine(engine, first), report
