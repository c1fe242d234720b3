"""Which engines of this device reproduce a bundle's golden tiles, and what share of a frame's time is spent around them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

from jetspect.errors import EngineMissingError, GoldenMismatchError, JetspectError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.sources.synthetic import render_part

KINDS = ("onnxruntime-cuda", "tensorrt")
State = Literal["proven", "wrong", "failed", "missing"]


@dataclass(frozen=True)
class EngineTrial:
    """What one engine made of one graph.

    Attributes
    ----------
    state
        Proven by the golden tiles, wrong against them, failed with an error, or missing: not installed or not built.
    told
        The golden report and times, or why there is no answer.
    outside
        Time of a frame outside the engine, divided by the engine's; None where it did not run.
    """

    kind: str
    precision: str
    state: State
    told: str
    engine_ms: float | None = None
    outside_ms: float | None = None
    outside: float | None = None


def try_engines(bundle: Bundle, frame_hw: tuple[int, int], tile_px: int, batch: int, runs: int) -> list[EngineTrial]:
    """Try every graph of a bundle in every engine for CUDA devices; an engine that is not installed says so."""
    graphs = [p for p in bundle.manifest.graphs if p != "int8-cpu"]
    return [_try(bundle, kind, precision, frame_hw, tile_px, batch, runs) for kind in KINDS for precision in graphs]


def _try(
    bundle: Bundle, kind: str, precision: str, frame_hw: tuple[int, int], tile_px: int, batch: int, runs: int
) -> EngineTrial:
    tiled = bundle.manifest.tiling.frame_wh is None
    tiling = TilingSettings(tile_px=tile_px, batch=batch) if tiled else TilingSettings()
    options = DeviceOptions(tile_px=tiling.tile_px, batch=tiling.batch)
    try:
        engine, golden = open_engine(bundle, kind=kind, precision=precision, device=options)  # type: ignore[arg-type]
        with engine, Inspector(bundle, engine, InspectorSettings(tiling=tiling)) as inspector:
            frame = Frame(render_part(1, (frame_hw[1], frame_hw[0])).image, "self-test")
            spent = [inspector.inspect(frame).timings for _ in range(runs + 1)][1:]
    except GoldenMismatchError as error:
        return EngineTrial(kind, precision, "wrong", str(error))
    except (MissingDependencyError, EngineMissingError) as error:
        return EngineTrial(kind, precision, "missing", str(error))
    except JetspectError as error:
        return EngineTrial(kind, precision, "failed", str(error))
    inside = median(t.engine_ms for t in spent)
    around = median(t.gather_ms + t.scatter_ms + t.postprocess_ms for t in spent)
    told = f"{golden}; engine {inside:.2f} ms, around it {around:.2f} ms ({100 * around / inside:.1f} %)"
    return EngineTrial(kind, precision, "proven", told, inside, around, around / inside)
