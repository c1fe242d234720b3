"""``jetspect bench peers``: the same graph over the same frames in other hands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.benchmarks.history import check_writable
from jetspect.benchmarks.page import prepare_folder
from jetspect.benchmarks.peers.run import PeerOptions, bench_peers, check_options
from jetspect.benchmarks.peers.told import as_record, bars, tables
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
from jetspect.cli.output import JsonOption, console, progress
from jetspect.runtime.bundle import Bundle


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
    out: OutOption = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare with MONAI, SAHI and a plain NumPy loop: same engine, same frames, in one run, in turn; answers beside speed.

    Example: jetspect bench peers bundles/metal-demo --engine openvino --out peers
    """
    check_writable(history)
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
    name = f"{opened.manifest.name} {opened.manifest.version}"
    finish(
        as_record(result, name),
        tables(result),
        bars(result),
        title=f"{opened.manifest.name} in other hands",
        lead=result.engine,
        history=history,
        out=out,
        as_json=as_json,
    )
    for peer, reason in () if as_json else result.left_out.items():
        console.print(f"{peer} left out: {reason}", markup=False)
