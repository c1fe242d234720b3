"""``jetspect bench startup``: from starting the program to its first verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.benchmarks.history import append, check_writable
from jetspect.benchmarks.page import require_packages, write_page
from jetspect.benchmarks.startup import KINDS, Subject, as_record, make_page, measure, rows
from jetspect.cli.bench_options import HistoryOption, size_of
from jetspect.cli.engine import BatchOption, EngineOption, PrecisionOption, TileOption, as_precision
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import BundleSettings, EngineSettings
from jetspect.runtime.engines import require_graph
from jetspect.runtime.engines.options import DeviceOptions, tile_shape
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.settings import parse_settings


def startup(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    runs: Annotated[int, typer.Option(min=1, max=1000, help="Starts of each.")] = 5,
    engine: EngineOption = "onnxruntime",
    precision: PrecisionOption = "fp32",
    tile: TileOption = None,
    batch: BatchOption = 1,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 0,
    size: Annotated[str, typer.Option(help="Width x height of the frame in px.")] = "5472x3648",
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and result.json.")] = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure cold starts of jetspect inspect and of a station, in fresh processes, to the first verdict, by phase.

    The first start of each stands apart: later ones find the files in memory.

    Example: jetspect bench startup bundles/metal-demo --runs 5
    """
    require_packages(out)
    check_writable(history)
    opened, size_wh = Bundle.open(bundle), size_of(size)
    require_graph(opened, as_precision(precision))
    if engine not in (kinds := get_args(EngineSettings.model_fields["kind"].annotation)):
        raise InputError(f"--engine {engine!r} is not known; use one of {', '.join(kinds)}")
    tile_shape(opened.manifest, DeviceOptions(tile_px=tile, batch=batch))  # refuses a tile that the model does not take
    where = "bench"
    subject = Subject(
        parse_settings({"path": bundle, "precision": precision}, BundleSettings, where=where),
        parse_settings({"kind": engine, "threads": threads}, EngineSettings, where=where),
        parse_settings({"tile_px": tile, "batch": batch}, TilingSettings, where=where),
        size_wh,
    )
    with progress() as bar:
        task = bar.add_task("starting", total=runs * len(KINDS))
        starts = measure(subject, runs, lambda: bar.advance(task))
    name = f"{opened.manifest.name} {opened.manifest.version}"
    record = as_record(starts, name, subject)
    if history is not None:
        append(history, record)
    page = None if out is None else write_page(out, make_page(starts, name, subject), record)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    table = Table("ms", "inspect", "first start", "station", "first start", title=escape(name))
    for words in rows(starts):
        table.add_row(*words)
    console.print(table)
    if page is not None:
        console.print(f"look at {page}", markup=False)
