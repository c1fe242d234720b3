"""``jetspect bench engines``: which engine is the fastest here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.engine import BatchOption, PrecisionOption, TileOption, as_precision
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.probe import probe
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import choose_engine
from jetspect.runtime.engines.options import DeviceOptions


def engines(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    precision: PrecisionOption = "fp32",
    tile: TileOption = None,
    batch: BatchOption = 1,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Try every engine of this machine on the same tiles, each proven by the golden ones, and remember the fastest.

    Stations with engine.kind = "auto" take it, at this precision, tile and batch. It is tried anew at each call.

    Example: jetspect bench engines bundles/bsd-pitting --precision int8-cpu --tile 704
    """
    opened = Bundle.open(bundle)
    shape = DeviceOptions(tile_px=tile, batch=batch)
    engine, golden, choice = choose_engine(
        opened, precision=as_precision(precision), threads=threads, device=shape, again=True
    )
    engine.close()
    if as_json:
        print_json({"machine": probe().as_dict(), "golden": str(golden), **choice.model_dump(mode="json")})
        return
    times = [t.median_ms for t in choice.trials if t.median_ms is not None]
    table = Table(
        "engine", "median", "against the fastest", "why not", title=escape(f"{opened.manifest.name} {precision}")
    )
    for trial in choice.trials:
        if trial.median_ms is None:
            why = trial.reason if trial.installed else "not installed"
            table.add_row(trial.kind, "", "", escape(why))
        else:
            table.add_row(trial.kind, f"{trial.median_ms:.1f} ms", f"{trial.median_ms / min(times):.2f}", "")
    console.print(table)
    console.print(
        f"{choice.made_for['shape']}, {choice.made_for['threads']} threads: {choice.kind}; {golden}", markup=False
    )
