"""``jetspect bench tiles``: which tile, batch, precision and engine is best on this machine."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperCommand

from jetspect.benchmarks.history import append, check_writable, versions
from jetspect.benchmarks.page import require_packages, write_page
from jetspect.benchmarks.tile_child import Failure, Labels
from jetspect.benchmarks.tile_choice import Choice, pareto, recommend
from jetspect.benchmarks.tile_points import Conditions, Measured, Point, plan_points
from jetspect.benchmarks.tile_report import as_record, brief, make_page
from jetspect.benchmarks.tile_sweep import Sweep, preflight, sweep, unmeasured
from jetspect.cli.bench_options import HistoryOption, size_of
from jetspect.cli.engine import as_precision
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.device.probe import probe
from jetspect.errors import InputError
from jetspect.evaluation.datasets import open_dataset
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import KINDS, require_graph
from jetspect.runtime.manifest import Precision

_LISTS = {
    "--tiles": str.isdecimal,
    "--batches": str.isdecimal,
    "--precisions": set(get_args(Precision)).__contains__,
    "--engines": set(KINDS).__contains__,
}


class Spread(TyperCommand):
    """``--tiles 384 704`` and ``--tiles 384,704`` mean ``--tiles 384 --tiles 704``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        option = ""
        for word in args:
            name, equals, value = word.partition("=")
            words = (value if equals and name in _LISTS else word).split(",")
            if name in _LISTS:
                option = name
                spread += [w for each in words for w in (option, each)] if equals else []
                if not equals:
                    spread.append(option)
            elif option and all(map(_LISTS[option], words)):
                given = spread[-1] == option  # the option itself stands before its first value
                spread += [w for n, each in enumerate(words) for w in ((each,) if given and not n else (option, each))]
            else:
                spread.append(word)
                option = ""
        return super().parse_args(ctx, spread)


def tiles(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    tiles: Annotated[
        list[int] | None, typer.Option("--tiles", help="Tile edges in px, 384 704 1024; usual ones by default.")
    ] = None,
    batches: Annotated[list[int] | None, typer.Option(help="Tiles per run; 1 2 4 by default.")] = None,
    precisions: Annotated[
        list[str] | None, typer.Option(help="Graphs; fp32 and int8-cpu, if there, by default.")
    ] = None,
    engines: Annotated[list[str] | None, typer.Option(help="Engines; those on the processor by default.")] = None,
    size: Annotated[str, typer.Option(help="Width x height of a frame in px.")] = "5472x3648",
    frames: Annotated[int | None, typer.Option(min=1, help="Frames at each point; 10 by default, 3 if quick.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 takes every core.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Folder of labelled images, for IoU and defects found.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Kind of data set; jetspect data kinds lists them.")] = None,
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "val",
    images: Annotated[int, typer.Option(min=1, help="Labelled images to look at, at most.")] = 20,
    memory_mb: Annotated[
        float | None, typer.Option(min=1, help="Refuse points that take more; what is free by default.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few tiles, batch 1, three frames.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure what --out holds already once more.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for points.jsonl, result.json and report.html.")] = Path(
        "bench-tiles"
    ),
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure time and memory of every tile size x batch x precision x engine, and recommend one.

    Each point runs in a process of its own, so that memory is its own. A run that was ended goes on where it stopped.

    Example: jetspect bench tiles bundles/metal-demo --tiles 384 704 1024 --batches 1 2 --out bench-tiles
    """
    require_packages(out)
    check_writable(history)
    opened = Bundle.open(bundle)
    manifest, size_wh = opened.manifest, size_of(size)
    labels = _labels(dataset, data, split, images)
    usual = [p for p in ("fp32", "int8-cpu") if p in manifest.graphs] or list(manifest.graphs)[:1]
    chosen = [as_precision(p) for p in precisions or usual]
    for precision in chosen:
        require_graph(opened, precision)
    points = plan_points(
        manifest,
        size_wh,
        tiles=tiles or (),
        batches=batches or ((1,) if quick else (1, 2, 4)),
        precisions=chosen,
        engines=_engines(engines),
        quick=quick,
    )
    machine = probe()
    conditions = Conditions(
        bundle=f"{manifest.name} {manifest.version}",
        manifest_sha256=opened.manifest_sha256,
        size_wh=size_wh,
        frames=frames or (3 if quick else 10),
        threads=threads,
        machine=f"{machine.model}, {machine.cores} cores",
        versions=versions(),
        labels="" if labels is None else labels.model_dump_json(),
    )
    left = points if again else unmeasured(points, conditions, out)
    preflight(bundle, manifest, left, conditions, limit_mb=memory_mb)
    with progress() as bar:
        task = bar.add_task("measuring", total=len(points))

        def told(point: Point, found: Measured | Failure) -> None:
            bar.update(task, advance=1, description=escape(str(point)))

        done = sweep(bundle, points, conditions, out, labels=labels, again=again, told=told)
    choice = recommend(done.measured)
    record = as_record(done, choice)
    if history is not None and done.measured:
        append(history, record)
    page = write_page(out, make_page(done, choice), record) if choice is not None else None
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        _tell(done, choice, page)
    sys.exit(0 if done.measured else 2)


def _engines(engines: list[str] | None) -> list[str]:
    """Return what is asked for, or what is installed of those that run on the processor."""
    for name in engines or ():
        if name not in KINDS:
            raise InputError(f"--engines {name!r} is not known; use some of {', '.join(KINDS)}")
    installed = importlib.util.find_spec("openvino") is not None
    return engines or ["onnxruntime", *(["openvino"] if installed else [])]


def _labels(dataset: str | None, data: Path | None, split: str, images: int) -> Labels | None:
    if dataset is None and data is None:
        return None
    labels = Labels(
        dataset=dataset or "folder", path=None if data is None else data.resolve(), split=split, most=images
    )
    open_dataset(labels.dataset, labels.path, split, protocol="evaluate")  # says what is wrong before the long run
    return labels


def _tell(done: Sweep, choice: Choice | None, page: Path | None) -> None:
    best = pareto(done.measured)
    if done.measured:
        rows = [brief(m) for m in done.measured]
        table = Table(*rows[0], title=escape(done.measured[0].conditions.bundle))
        for m, words in zip(done.measured, rows, strict=True):
            table.add_row(*words.values(), style="bold" if m in best else "")
        console.print(table)
        console.print("bold: beaten by none in time and memory, nor in accuracy where it was measured")
    for point, error in done.failed:
        console.print(f"could not be measured: {point}: {error}", style="yellow", markup=False)
    if choice is not None:
        console.print(f"\nfor the station file, {choice.reason}:\n\n{choice.toml}", markup=False)
        console.print(f"look at {page}", markup=False)
