"""``jetspect bench graphs``: how fast the graphs of a bundle are on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.benchmarks.history import Row, Series, append, check_writable, make_record, thin
from jetspect.benchmarks.precision import compare_precisions
from jetspect.cli.bench_options import HistoryOption
from jetspect.cli.engine import as_precision
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.probe import probe
from jetspect.runtime.bundle import Bundle


def graphs(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    precision: Annotated[
        list[str] | None, typer.Option(help="Graph to time; may be given several times. All by default.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option(min=1, max=16384, help="Tile edge in px; the bundle's own by default.")
    ] = None,
    runs: Annotated[int, typer.Option(min=5, help="Runs of each graph.")] = 30,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes every core.")] = 0,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time the graphs of a bundle on the same tile, in turn, and compare each with FP32.

    On a processor int8 and int8-trt8 are computed step by step, as TensorRT would compute them, and are slow: int8-cpu is the
    graph for processors.

    Example: jetspect bench bundles/bsd-pitting --tile 384
    """
    check_writable(history)
    opened = Bundle.open(bundle)
    rows = compare_precisions(
        opened, tuple(as_precision(p) for p in precision or ()), tile_px=tile, runs=runs, threads=threads
    )
    size = tile or opened.manifest.tiling.tile_px
    told = {"bundle": str(bundle), "tile_px": size, "machine": probe().as_dict(), "graphs": [asdict(r) for r in rows]}
    if history is not None:
        name = f"{opened.manifest.name} {opened.manifest.version}"
        series = [
            Series(name=f"{name}, {size} px, {r.precision}", unit="ms", samples=thin(r.latency.samples_ms))
            for r in rows
        ]
        words = [f"{r.precision} {r.latency.median_ms:.1f} ms ({r.speedup:.2f} x)" for r in rows]
        line = Row(what=f"{name}, one tile of {size} px", measured=", ".join(words))
        append(history, make_record("graphs", series, rows=[line], result=told))
    if as_json:
        print_json(told)
        return
    table = Table(
        "graph", "median", "quartiles", "speed against fp32", title=escape(f"{opened.manifest.name}, tile of {size} px")
    )
    for row in rows:
        spent = row.latency
        table.add_row(
            row.precision,
            f"{spent.median_ms:.1f} ms",
            f"{spent.low_ms:.1f} - {spent.high_ms:.1f}",
            f"{row.speedup:.2f} x",
        )
    console.print(table)
    machine = probe()
    console.print(
        f"{rows[0].engine.partition(' fp32')[0]} on {machine.as_dict()['model']}, {runs} runs each, in turn",
        markup=False,
    )
