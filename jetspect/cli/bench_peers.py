"""``jetspect bench peers``: the same graph over the same frames in other hands."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table as RichTable

from jetspect import __version__
from jetspect.benchmarks.bar_page import Table, prepare_folder, write_page
from jetspect.benchmarks.peers.run import PeerOptions, bench_peers, check_options
from jetspect.benchmarks.peers.told import bars, tables
from jetspect.benchmarks.stats import load_average, usable_cores
from jetspect.cli.engine import PrecisionOption, TileOption, as_precision
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.device.probe import probe
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.frames import utc_now

SizeOption = Annotated[str, typer.Option(help="Width x height of the frames in px, such as 5472x3648.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder for report.html and the numbers as JSON.")]
RoundsOption = Annotated[int, typer.Option(min=1, max=1000, help="Frames that everyone runs, in turn.")]
ProcessorOption = Annotated[str, typer.Option(help="Engine of the processor: onnxruntime or openvino.")]


def peers(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    size: SizeOption = "5472x3648",
    reference: Annotated[
        str, typer.Option(help="Size of the frames on which answers are compared with the whole frame's.")
    ] = "2048x1536",
    peers: Annotated[
        str, typer.Option(help="Comma-separated: numpy, monai, sahi; those that are installed by default.")
    ] = "",
    tile: TileOption = None,
    rounds: RoundsOption = 5,
    engine: ProcessorOption = "onnxruntime",
    precision: PrecisionOption = "fp32",
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 0,
    as_json: JsonOption = False,
    out: OutOption = None,
) -> None:
    """Compare with MONAI, SAHI and a plain NumPy loop: same engine, same frames, in one run, in turn; answers beside speed.

    Example: jetspect bench peers bundles/metal-demo --engine openvino --out peers
    """
    opened = Bundle.open(bundle)
    options = PeerOptions(
        size_wh=as_size(size),
        reference_wh=as_size(reference),
        tile_px=tile,
        peers=tuple(p.strip() for p in peers.split(",") if p.strip()),
        rounds=rounds,
    )
    check_options(opened, options)
    if out is not None:
        prepare_folder(out)
    with open_processor(opened, engine, precision, threads) as running, progress() as shown:
        task = shown.add_task("comparing", total=None)
        result = bench_peers(opened, running, options, lambda what: shown.update(task, advance=1, description=what))
    data = {**here(opened), **asdict(result)}
    drawn = tables(result)
    if as_json:
        print_json(data)
    else:
        show(drawn)
        for name, reason in result.left_out.items():
            console.print(f"{name} left out: {reason}", markup=False)
    if out is not None:
        finish(out, "peers", f"{opened.manifest.name} in other hands", result.engine, data, drawn, bars(result))


def as_size(text: str) -> tuple[int, int]:
    """Return width and height out of ``5472x3648``, or raise InputError."""
    width, _, height = text.lower().partition("x")
    try:
        size = int(width), int(height)
    except ValueError:
        raise InputError(f"a size is WIDTHxHEIGHT in px, such as 5472x3648; got {text!r}") from None
    if not all(64 <= side <= 8192 for side in size):
        raise InputError(f"frames are rendered with 64 to 8192 px a side, got {text}; choose another size")
    return size


def open_processor(bundle: Bundle, engine: str, precision: str, threads: int) -> Engine:
    """Open an engine that takes any batch and tile, as peers and comparisons with whole frames need."""
    if engine not in ("onnxruntime", "openvino"):
        raise InputError(
            f"--engine {engine!r} does not do here; use onnxruntime or openvino, which take tiles of any size"
        )
    return open_engine(bundle, kind=engine, precision=as_precision(precision), threads=threads)[0]


def here(bundle: Bundle) -> dict[str, Any]:
    """Return what every file of numbers says first."""
    return {
        "jetspect": __version__,
        "when": utc_now().isoformat(timespec="seconds"),
        "machine": probe().as_dict(),
        "cores": usable_cores(),
        "load_average": load_average(),
        "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
    }


def show(drawn: list[Table]) -> None:
    """Print tables."""
    for table in drawn:
        shown = RichTable(*table.header, title=table.title, caption=table.text)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def finish(out: Path, name: str, title: str, lead: str, data: Any, drawn: list[Table], plots: Any) -> None:
    """Write the report and the numbers."""
    (out / f"{name}.json").write_text(json.dumps(data, indent=2, default=str) + "\n")
    page = write_page(out / "report.html", title, lead, drawn, plots)
    typer.echo(f"look at {page}", err=True)
