"""``jetspect bench model``: how far from the machine's limits, and what other tiles would give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.benchmarks.history import check_writable
from jetspect.benchmarks.page import prepare_folder
from jetspect.benchmarks.roofline.machine import gemm_graph
from jetspect.benchmarks.roofline.run import ModelOptions, bench_model, check_options
from jetspect.benchmarks.roofline.told import as_record, tables
from jetspect.cli.bench_options import HistoryOption
from jetspect.cli.bench_processor import (
    OutOption,
    ProcessorOption,
    SizeOption,
    as_size,
    finish,
    open_processor,
)
from jetspect.cli.engine import PrecisionOption, TileOption, as_precision
from jetspect.cli.output import JsonOption, progress
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine


def model(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    size: SizeOption = "5472x3648",
    tile: TileOption = None,
    plan: Annotated[
        str, typer.Option(help="Comma-separated TILExBATCH to predict and then measure, such as 512x1,1024x2.")
    ] = "512x1,512x4,1024x1",
    frames: Annotated[int, typer.Option(min=1, max=1000, help="Frames to inspect after one warm-up.")] = 3,
    engine: ProcessorOption = "onnxruntime",
    precision: PrecisionOption = "fp32",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 0,
    out: OutOption = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set every stage beside what memory and engine could do at best here, and predict other tiles from one that is measured.

    Example: jetspect bench model bundles/metal-demo --engine openvino --plan 512x1,1024x1
    """
    check_writable(history)
    opened = Bundle.open(bundle)
    options = ModelOptions(size_wh=as_size(size), tile_px=tile, points=_points(plan), frames=frames)
    check_options(opened, options)
    if out is not None:
        prepare_folder(out)
    chosen = as_precision(precision)
    with (
        open_processor(opened, engine, precision, threads) as running,
        _open_plain(engine, gemm_graph(), threads) as products,
        progress() as shown,
    ):
        task = shown.add_task("model", total=None)
        result = bench_model(
            opened, chosen, running, products, options, lambda what: shown.update(task, advance=1, description=what)
        )
    name = f"{opened.manifest.name} {opened.manifest.version}"
    finish(
        as_record(result, name),
        tables(result),
        (),
        title=f"{opened.manifest.name} beside the machine's limits",
        lead=result.engine,
        history=history,
        out=out,
        as_json=as_json,
    )


def _open_plain(kind: str, graph: bytes, threads: int) -> Engine:
    """Open a graph that belongs to no bundle in an engine of the processor."""
    if kind == "openvino":
        from jetspect.runtime.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(graph, threads=threads)
    from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(graph, threads=threads)


def _points(text: str) -> tuple[tuple[int, int], ...]:
    found = []
    for part in (p for p in text.split(",") if p.strip()):
        tile, _, batch = part.strip().lower().partition("x")
        if not (tile.isdecimal() and batch.isdecimal()) or int(tile) > 16384:
            raise InputError(f"--plan is a list of TILExBATCH such as 512x1,1024x2, tiles up to 16384 px; got {text!r}")
        found.append((int(tile), int(batch)))
    return tuple(found)
