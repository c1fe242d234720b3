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
    from jetspect.runtime.engines.auto import Choice
    from jetspect.runtime.engines.options import DeviceOptions

KINDS = ("onnxruntime", "openvino", "onnxruntime-cuda", "tensorrt")
AUTO = "auto"
_ON_PROCESSOR = ("onnxruntime", "openvino")


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
    kind
        One of ``KINDS``, or ``auto``: the fastest of them here (:func:`jetspect.runtime.engines.auto.open_fastest`).
    threads
        Of engines on the processor.
    device
        Of engines on a CUDA device, and of the choice among all: tile, batch and, for TensorRT, where its engines are kept.

    Raises
    ------
    EngineError
        The bundle has no graph of that precision, or the engine cannot run it. Nothing else is tried in its place.
    GoldenMismatchError
        The engine's answers differ from the golden ones.
    """
    require_graph(bundle, precision)
    if kind == AUTO:
        return choose_engine(bundle, precision=precision, threads=threads, device=device)[:2]
    if kind not in KINDS:
        raise EngineError(f"engine {kind!r} is not known; use one of {', '.join(KINDS)}, or {AUTO}")
    with ExitStack() as opened:
        engine, report = _open_first(bundle, kind, precision, threads, device)
        opened.push(engine)
        if bundle.manifest.foreground is None:
            opened.pop_all()  # from here on the caller closes it
            return engine, report
        first: Precision = precision if kind in _ON_PROCESSOR else "fp32"
        beside = kind if kind in _ON_PROCESSOR else "onnxruntime"
        finder = _on_processor(beside, bundle.foreground_graph(first), first, threads)
        opened.push(finder)
        report = replace(report, foreground=check_foreground(finder, bundle, first))
        opened.pop_all()
        return StagedEngine(engine, finder), report


def choose_engine(
    bundle: Bundle,
    *,
    precision: Precision = "fp32",
    threads: int = 0,
    device: DeviceOptions | None = None,
    again: bool = False,
) -> tuple[Engine, GoldenReport, Choice]:
    """Open the fastest engine of this machine, and say how it was chosen; errors as :func:`open_engine`."""
    from jetspect.runtime.engines.auto import open_fastest
    from jetspect.runtime.engines.cache import default_folder
    from jetspect.runtime.engines.options import DeviceOptions

    require_graph(bundle, precision)
    shape = device or DeviceOptions()

    def opened_by(kind: str) -> tuple[Engine, GoldenReport]:
        return open_engine(bundle, kind=kind, precision=precision, threads=threads, device=shape)

    return open_fastest(
        bundle,
        KINDS,
        opened_by,
        precision=precision,
        tile_px=shape.tile_px,
        batch=shape.batch,
        threads=threads,
        engines=shape.folder or default_folder(),
        again=again,
    )


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
    with ExitStack() as opened:
        engine = _on_processor(kind, bundle.graph(precision), precision, threads)
        opened.push(engine)
        report = check_golden(engine, bundle, precision)
        opened.pop_all()
        return engine, report


def _on_processor(kind: str, graph: bytes, precision: Precision, threads: int) -> Engine:
    if kind == "openvino":
        from jetspect.runtime.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(graph, precision=precision, threads=threads)
    from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(graph, precision=precision, threads=threads)
