"""What executes a bundle: engines behind one small Protocol, opened by name and proven by the golden tiles."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from jetspect.errors import EngineError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.golden import GoldenReport, check_foreground, check_golden
from jetspect.runtime.manifest import Precision

if TYPE_CHECKING:
    from jetspect.runtime.engines.options import DeviceOptions

KINDS = ("onnxruntime", "onnxruntime-cuda", "tensorrt")


def open_engine(
    bundle: Bundle,
    *,
    kind: str = "onnxruntime",
    precision: Precision = "fp32",
    threads: int = 0,
    device: DeviceOptions | None = None,
) -> tuple[Engine, GoldenReport]:
    """Load a bundle's graph into an engine and prove it on the golden tiles; of a two-stage bundle both graphs.

    Beside an engine on a CUDA device stage one runs on the processor, in FP32 and on ONNX Runtime, and the engine's info says
    so: its input has the shrunken frame's size, which is not known before the first frame and which golden tiles of another
    size could not prove in an engine of one fixed size. The network is small, and the frame is shrunk on the processor anyway.

    Parameters
    ----------
    threads
        Of ONNX Runtime.
    device
        Of engines on a CUDA device: tile, batch and, for TensorRT, where its engines are kept.

    Raises
    ------
    EngineError
        The bundle has no graph of that precision, or the engine cannot run it. Nothing else is tried in its place.
    GoldenMismatchError
        The engine's answers differ from the golden ones.
    """
    require_graph(bundle, precision)
    if kind not in KINDS:
        raise EngineError(f"engine {kind!r} is not known; use one of {', '.join(KINDS)}")
    first: Precision = precision if kind == "onnxruntime" else "fp32"
    with ExitStack() as opened:
        engine, report = _open_first(bundle, kind, precision, threads, device)
        opened.push(engine)
        if bundle.manifest.foreground is None:
            opened.pop_all()  # from here on the caller closes it
            return engine, report
        from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine

        finder = OnnxRuntimeEngine(bundle.foreground_graph(first), precision=first, threads=threads)
        opened.push(finder)
        report = replace(report, foreground=check_foreground(finder, bundle, first))
        opened.pop_all()
        return StagedEngine(engine, finder), report


def require_graph(bundle: Bundle, precision: Precision) -> None:
    """Refuse a precision that the bundle has no graph of."""
    if precision not in bundle.manifest.graphs:
        have = ", ".join(bundle.manifest.graphs)
        raise EngineError(f"bundle {bundle.manifest.name} has no {precision} graph, it has {have}; choose one of these")


def _open_first(
    bundle: Bundle, kind: str, precision: Precision, threads: int, device: DeviceOptions | None
) -> tuple[Engine, GoldenReport]:
    """Open the graph that looks for defects."""
    if kind == "tensorrt":
        from jetspect.runtime.engines.device import open_device_engine
        from jetspect.runtime.engines.options import DeviceOptions

        return open_device_engine(bundle, precision, device or DeviceOptions())
    if kind == "onnxruntime-cuda":
        from jetspect.runtime.engines.onnxruntime_cuda import open_cuda_engine
        from jetspect.runtime.engines.options import DeviceOptions

        return open_cuda_engine(bundle, precision, device or DeviceOptions())
    from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine

    with ExitStack() as opened:
        engine = opened.enter_context(OnnxRuntimeEngine(bundle.graph(precision), precision=precision, threads=threads))
        report = check_golden(engine, bundle, precision)
        opened.pop_all()
        return engine, report
