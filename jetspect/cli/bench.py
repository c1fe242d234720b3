"""``jetspect bench``: how fast a bundle's graphs are on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.benchmarks.precision import compare_precisions
from jetspect.cli.engine import as_precision
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.probe import probe
from jetspect.runtime.bundle import Bundle


def bench(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    precision: Annotated[
        list[str] | None, typer.Option(help="Graph to time; may be given several times. All by default.")
    ] = None,
    tile: Annotated[
        int | None, typer.Option(min=1, max=16384, help="Tile edge in px; the bundle's own by default.")
    ] = None,
    runs: Annotated[int, typer.Option(min=5, help="Runs of each graph.")] = 30,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes every core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Time the graphs of a bundle on the same tile, in turn, and compare each with FP32.

    On a processor int8 and int8-trt8 are computed step by step, as TensorRT would compute them, and are slow: int8-cpu is the
    graph for processors.

    Example: jetspect bench bundles/bsd-pitting --tile 384
    """
    opened = Bundle.open(bundle)
    rows = compare_precisions(
        opened, tuple(as_precision(p) for p in precision or ()), tile_px=tile, runs=runs, threads=threads
    )
    size = tile or opened.manifest.tiling.tile_px
    if as_json:
        print_json(
            {"bundle": str(bundle), "tile_px": size, "machine": probe().as_dict(), "graphs": [asdict(r) for r in rows]}
        )
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
