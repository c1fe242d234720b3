"""``jetspect bench memory``: what inspections take beside the frame and the engine, and whether it grows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.benchmarks.history import append, check_writable
from jetspect.benchmarks.memory import MIN_FRAMES, Subject, as_record, measure
from jetspect.cli.bench_options import HistoryOption, size_of
from jetspect.cli.engine import BatchOption, EngineOption, PrecisionOption, TileOption, as_precision
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import require_graph
from jetspect.runtime.engines.options import DeviceOptions, tile_shape
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.settings import parse_settings


def memory(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    frames: Annotated[int, typer.Option(min=MIN_FRAMES, max=1_000_000, help="Frames to inspect.")] = 1000,
    size: Annotated[str, typer.Option(help="Width x height of the frame in px.")] = "5472x3648",
    engine: EngineOption = "onnxruntime",
    precision: PrecisionOption = "fp32",
    tile: TileOption = None,
    batch: BatchOption = 1,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 0,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the peak memory of inspections beside frame, score map and engine, and memory and open files over many frames.

    Exit code 1 where memory or open files grow from the second quarter to the last.

    Example: jetspect bench memory bundles/metal-demo --frames 1000
    """
    check_writable(history)
    opened = Bundle.open(bundle)
    require_graph(opened, as_precision(precision))
    tile_shape(opened.manifest, DeviceOptions(tile_px=tile, batch=batch))  # refuses a tile that the model does not take
    tiling = parse_settings({"tile_px": tile, "batch": batch}, TilingSettings, where="bench")
    subject = Subject(bundle, size_of(size), engine, as_precision(precision), tiling, threads)
    with progress() as bar:
        task = bar.add_task("inspecting", total=frames)
        use = measure(subject, frames, lambda: bar.advance(task))
    record = as_record(use, f"{opened.manifest.name} {opened.manifest.version}", subject)
    if history is not None:
        append(history, record)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        for row in record.rows:
            console.print(f"{row.what}\n  {row.measured}", markup=False)
        console.print("flat" if use.after.flat else "it grows")
    if not use.after.flat:
        raise typer.Exit(1)
