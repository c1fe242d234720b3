"""``jetspect bench gating``: what it saves to look at the part only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.benchmarks.gating.run import GatingOptions, bench_gating, check_options
from jetspect.benchmarks.gating.told import as_record, bars, tables
from jetspect.benchmarks.history import check_writable
from jetspect.benchmarks.page import prepare_folder
from jetspect.cli.bench_options import HistoryOption
from jetspect.cli.bench_processor import (
    OutOption,
    ProcessorOption,
    RoundsOption,
    SizeOption,
    as_size,
    finish,
    open_processor,
)
from jetspect.cli.engine import PrecisionOption, TileOption
from jetspect.cli.output import JsonOption, progress
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle


def gating(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    size: SizeOption = "5472x3648",
    cover: Annotated[str, typer.Option(help="Comma-separated: how much of the frame the part covers, in %.")] = (
        "10,30,60,100"
    ),
    tile: TileOption = None,
    rounds: RoundsOption = 5,
    engine: ProcessorOption = "onnxruntime",
    precision: PrecisionOption = "fp32",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 0,
    out: OutOption = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what a region of interest and a first stage save, at several sizes of the part, and what they miss.

    Example: jetspect bench gating bundles/metal-demo --engine openvino --out gating
    """
    check_writable(history)
    opened = Bundle.open(bundle)
    options = GatingOptions(size_wh=as_size(size), covers=_covers(cover), tile_px=tile, rounds=rounds, threads=threads)
    check_options(opened, options)
    if out is not None:
        prepare_folder(out)
    with open_processor(opened, engine, precision, threads) as running, progress() as shown:
        task = shown.add_task("gating", total=None)
        result = bench_gating(opened, running, options, lambda what: shown.update(task, advance=1, description=what))
    name = f"{opened.manifest.name} {opened.manifest.version}"
    finish(
        as_record(result, name),
        tables(result),
        bars(result),
        title=f"{opened.manifest.name}, gated",
        lead=result.engine,
        history=history,
        out=out,
        as_json=as_json,
    )


def _covers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(c) / 100 for c in text.split(","))
    except ValueError:
        raise InputError(f"--cover is a list of percentages such as 10,30,60,100; got {text!r}") from None
