"""``jetspect run``: run a station."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from jetspect.cli.output import VERDICT_STYLE, JsonOption, console, print_json
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import load_station
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.publishing.messages import ResultMessage
from jetspect.runtime.results import Inspection


def run(
    station: Annotated[Path, typer.Argument(help="Station file (TOML).", show_default=False)],
    check: Annotated[bool, typer.Option("--check", help="Open every part, then stop before the first frame.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a station until its source ends, or until SIGTERM or Ctrl-C; what was captured is still inspected and kept.

    With --json every result is one line on stdout, as it is published.

    Example: jetspect run station.toml
    """
    config = load_station(station)
    told = _tell_json if as_json else _tell
    with build_station(config, on_result=told) as running:
        if check:
            running.check()
            if as_json:
                print_json({"station": str(station), "ok": True})
            else:
                console.print(f"{station}: every part opens", style="bold green", markup=False)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stop())
        waiting = running.run()
    counters = running.counters
    summary = {v.value: n for v, n in counters.verdicts.items()}
    if not as_json:
        counts = ", ".join(f"{n} {name}" for name, n in summary.items())
        console.print(f"{counters.inspected} frames: {counts}; {waiting} results wait in {config.outbox.path}")
    if waiting and config.broker is not None:
        broker = f"{config.broker.host}:{config.broker.port}"
        typer.echo(
            f"warning: {waiting} results were not acknowledged by {broker}; they go out at the next start", err=True
        )


def _tell(frame: Frame | LostFrame, inspection: Inspection, message: ResultMessage) -> None:
    verdict = inspection.verdict.value
    reasons = escape("; ".join(inspection.reasons))
    time_ms = inspection.timings.total_ms
    console.print(
        f"{message.seq:>6}  [{VERDICT_STYLE[verdict]}]{verdict:7}[/]  {escape(frame.frame_id)}  {time_ms:.0f} ms  {reasons}"
    )
    if message.part is not None and len(message.part.views) > 1:
        whole = message.part
        style = VERDICT_STYLE[whole.verdict.value]
        console.print(
            f"{'':8}[{style}]{whole.verdict.value:7}[/]  part {escape(whole.part_id)}, {len(whole.views)} frames"
        )


def _tell_json(frame: Frame | LostFrame, inspection: Inspection, message: ResultMessage) -> None:
    sys.stdout.write(json.dumps(json.loads(message.payload())) + "\n")
    sys.stdout.flush()
