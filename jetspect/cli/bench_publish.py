"""``jetspect bench publish``: how many results a second go out, and how late they are."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from jetspect.benchmarks.history import Row, Series, append, check_writable, make_record, thin
from jetspect.benchmarks.publish import PublishTimes, bench_publish, own_mosquitto, scratch
from jetspect.benchmarks.stats import load_average, usable_cores
from jetspect.cli.bench_options import HistoryOption
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.device.probe import probe
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.settings import parse_settings


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
