"""``jetspect bench``: how fast a bundle's graphs, and the publishing, are on this machine."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from jetspect.benchmarks.history import Row, Series, append, check_writable, make_record, thin
from jetspect.benchmarks.precision import compare_precisions
from jetspect.benchmarks.publish import PublishTimes, bench_publish, own_mosquitto, scratch
from jetspect.benchmarks.stats import load_average, usable_cores
from jetspect.cli import bench_compare, bench_engines, bench_latency, bench_memory, bench_startup, bench_tiles
from jetspect.cli.bench_gating import gating
from jetspect.cli.bench_model import model
from jetspect.cli.bench_options import HistoryOption
from jetspect.cli.bench_peers import peers
from jetspect.cli.engine import as_precision
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.probe import probe
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.settings import parse_settings


class _BundleFirst(TyperGroup):
    """``jetspect bench BUNDLE`` means ``jetspect bench graphs BUNDLE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = ["graphs", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    help="Measure this machine: the graphs of a bundle (jetspect bench BUNDLE), or the publishing.",
    no_args_is_help=True,
    cls=_BundleFirst,
)
app.command()(bench_compare.compare)
app.command(cls=bench_tiles.Spread)(bench_tiles.tiles)
app.command()(bench_latency.latency)
app.command()(bench_startup.startup)
app.command()(bench_memory.memory)
app.command()(bench_engines.engines)
app.command()(peers)
app.command()(gating)
app.command()(model)


@app.command()
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


@app.command()
def publish(
    seconds: Annotated[float, typer.Option(min=1, help="Length of each run.")] = 20,
    rate: Annotated[float, typer.Option(min=1, help="Results a second of the paced run.")] = 1000,
    lines: Annotated[int, typer.Option(min=1, max=64, help="Threads that deliver results.")] = 16,
    defects: Annotated[int, typer.Option(min=0, max=1000, help="Defects in each result.")] = 3,
    host: Annotated[str | None, typer.Option(help="Broker; a mosquitto of its own by default.")] = None,
    port: Annotated[int, typer.Option(help="Its port.")] = 1883,
    protocol: Annotated[str, typer.Option(help="MQTT version, 5 or 3.1.1.")] = "5",
    folder: Annotated[Path, typer.Option(help="The outbox is written on this folder's disk.")] = Path(),
    history: HistoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how many results a second go through outbox and broker, and how long one takes from verdict to PUBACK.

    Two runs: as fast as it goes, and at a steady --rate, where a result that is late counts from when it was due.

    Example: jetspect bench publish --rate 500 --folder /var/lib/jetspect
    """
    check_writable(history)
    with ExitStack() as opened:
        own = opened.enter_context(scratch(folder))
        where = BrokerSettings(host=host, port=port) if host else opened.enter_context(own_mosquitto(own))
        broker = parse_settings({**where.model_dump(), "protocol": protocol}, BrokerSettings, where="bench")
        busy = [load_average()]
        runs = []
        for number, wanted in enumerate((0.0, rate)):
            place = own / str(number)
            place.mkdir()
            runs.append(bench_publish(place, broker, rate=wanted, seconds=seconds, lines=lines, defects=defects))
            busy.append(load_average())
    here = {"machine": probe().as_dict(), "cores": usable_cores(), "load_average": busy}
    told = {"command": " ".join(("jetspect", *sys.argv[1:])), **here, "protocol": protocol}
    told |= {"own_broker": host is None, "runs": [_as_dict(run) for run in runs]}
    if history is not None:
        append(history, make_record("publish", [s for r in runs for s in _series(r)], rows=_rows(runs), result=told))
    if as_json:
        print_json(told)
        return
    table = Table("run", "results/s", "commit p50", "p99", "verdict to PUBACK p50", "p99", "longest")
    for run in runs:
        table.add_row(*_publish_row(run))
    console.print(table)
    console.print(
        f"{lines} threads, {runs[0].payload_bytes} bytes a result, MQTT {protocol}, {usable_cores()} cores, "
        f"load average {', '.join(f'{b:.1f}' for b in busy)}",
        markup=False,
    )


def _as_dict(run: PublishTimes) -> dict[str, Any]:
    return {name: value for name, value in asdict(run).items() if name != "samples_ms"}


def _series(run: PublishTimes) -> list[Series]:
    name = _name(run)
    return [
        Series(name=f"verdict to PUBACK, {name}", unit="ms", samples=thin(run.samples_ms)),
        Series(name=f"results, {name}", unit="/s", better="higher", samples=(run.rate,)),
    ]


def _rows(runs: list[PublishTimes]) -> list[Row]:
    return [
        Row(
            what=f"Results through outbox and broker, {_name(r)}",
            measured=f"{r.rate:.0f}/s, verdict to PUBACK p50 {r.puback_p50_ms:.1f} ms, p99 {r.puback_p99_ms:.1f} ms",
        )
        for r in runs
    ]


def _name(run: PublishTimes) -> str:
    return f"{run.rate_wanted:.0f}/s" if run.rate_wanted else "flat out"


def _publish_row(run: PublishTimes) -> tuple[str, ...]:
    name = _name(run)
    times = (run.commit_p50_ms, run.commit_p99_ms, run.puback_p50_ms, run.puback_p99_ms, run.puback_max_ms)
    return (name, f"{run.rate:.0f}", *(f"{t:.1f} ms" for t in times))
