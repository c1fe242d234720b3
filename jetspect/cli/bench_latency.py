"""``jetspect bench latency``: one station end to end, from trigger to PUBACK."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.benchmarks.history import append, check_writable
from jetspect.benchmarks.latency import FEWEST, IMAGES, Found, for_bench, frames_for, loaded, search
from jetspect.benchmarks.latency_report import HEAD, as_record, make_page, notes, rows
from jetspect.benchmarks.memory_source import U8
from jetspect.benchmarks.open_loop import Arrivals
from jetspect.benchmarks.page import require_packages, write_page
from jetspect.benchmarks.publish import own_mosquitto, scratch
from jetspect.cli.bench_options import HistoryOption, size_of
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.errors import InputError
from jetspect.runtime.config import StationConfig, load_station
from jetspect.runtime.images import SUFFIXES, read_image
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.settings import parse_settings

_HELD = 2  # frames that a station holds beside its queue: one is inspected, one waits to get in
_EASY = 0.8


def latency(
    station: Annotated[Path, typer.Argument(help="Station file (TOML).", show_default=False)],
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=5000, help="Parts per second; without it 80 % of the highest rate, which is looked for."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86400, help="Length of each run.")] = 60,
    resolution: Annotated[float, typer.Option(min=0.005, max=1, help="Of the highest rate, as a share of it.")] = 0.05,
    images: Annotated[Path | None, typer.Option(help="Folder of frames; rendered parts by default.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Width x height of rendered frames; the station's by default.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Broker; a mosquitto of its own by default.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Its port.")] = 1883,
    station_broker: Annotated[
        bool, typer.Option("--station-broker", help="Send to the [broker] of the station file, as unit UNIT-bench.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Outbox and pictures are written on this folder's disk.")] = Path(),
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and result.json.")] = None,
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a station from trigger to PUBACK, and the highest rate at which it drops nothing.

    Model, engine, views and pictures are those of the file; frames come from memory, and the outbox is one of its own. Parts
    come at their times whatever happens, and latencies count from then. A frame that finds the queue full is dropped.

    Example: jetspect bench latency examples/station.toml --seconds 60 --out latency
    """
    require_packages(out)
    check_writable(history)
    config = load_station(station)
    if station_broker and (host is not None or config.broker is None):
        raise InputError("--station-broker needs [broker] in the station file, and no --host")
    if not folder.is_dir():
        raise InputError(f"folder {folder} does not exist; choose another --folder")
    name = config.station.unit
    with ExitStack() as opened:
        own = opened.enter_context(scratch(folder))
        if station_broker and config.broker is not None:
            broker = config.broker
        elif host is not None:
            broker = parse_settings({"host": host, "port": port}, BrokerSettings, where="bench")
        else:
            broker = opened.enter_context(own_mosquitto(own))
        bench = for_bench(config, own, broker)
        frames = _frames(bench, images, size)
        found: Found | None = None
        with progress() as bar, loaded(bench, frames) as load:
            task = bar.add_task("warming up", total=None)
            if rate is None:
                found = search(
                    load,
                    seconds,
                    resolution=resolution,
                    told=lambda a: bar.update(task, description=f"{a.rate:.3g}/s: {a.dropped or 'none'} dropped"),
                )
                if found.kept is None:
                    raise InputError(
                        f"{station} keeps no rate down to {found.tries[-1].rate:.2g}/s; run it once with -v"
                    )
                rate = _EASY * found.kept.rate
            else:
                load.warm_up()
            bar.update(task, description=f"measuring at {rate:.3g}/s")
            run = load.at(rate, max(seconds, FEWEST / rate if found else 0.0))
    result = {
        "station": str(station),
        "queue": bench.queue.model_dump(),
        "size_wh": [[i.shape[1], i.shape[0]] for i, *_ in frames.values()],
        "own_broker": not station_broker and host is None,
    }
    record = as_record(name, run, found, result)
    if history is not None and record.series:
        append(history, record)
    said = notes(run, found, bench.queue.frames + _HELD)
    lead = (
        f"{station.name}, {len(frames)} view{'s' if len(frames) > 1 else ''}, a queue of {bench.queue.frames} frames."
    )
    page = None if out is None else write_page(out, make_page(name, lead, run, found, said), record)
    if as_json:
        print_json(record.model_dump(mode="json"))
        return
    _tell(name, run, found, said)
    if page is not None:
        console.print(f"look at {page}", markup=False)


def _frames(config: StationConfig, images: Path | None, size: str | None) -> dict[str, list[U8]]:
    if images is None:
        return frames_for(config, None if size is None else size_of(size))
    paths = sorted(p for p in images.iterdir() if p.suffix.lower() in SUFFIXES) if images.is_dir() else []
    if not paths:
        raise InputError(
            f"{images} holds no image ({', '.join(sorted(SUFFIXES))}); name a folder of frames with --images"
        )
    read = [read_image(path) for path in paths[:IMAGES]]
    return dict.fromkeys(config.sources, read)


def _tell(name: str, run: Arrivals, found: Found | None, said: list[str]) -> None:
    table = Table(*HEAD[:-1], title=f"{escape(name)}, trigger to PUBACK")
    for words in rows((*found.tries, run) if found is not None else (run,)):
        table.add_row(*words[:-1])
    console.print(table)
    if found is not None and found.kept is not None:
        until = "" if found.dropped is None else f"; at {found.dropped.rate:.4g}/s something is"
        console.print(f"highest rate: {found.kept.rate:.4g}/s, nothing dropped for {found.kept.seconds:.0f} s{until}")
    for note in said:
        console.print(f"note: {note}", markup=False)
