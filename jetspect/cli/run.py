"""``jetspect run``: run a station."""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from jetspect.cli.output import VERDICT_STYLE, JsonOption, console, print_json
from jetspect.errors import JetspectError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig, load_station
from jetspect.runtime.consuming.reader import plain
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.results import Inspection
from jetspect.runtime.service.heartbeat import Heartbeat
from jetspect.runtime.service.notify import Notifier
from jetspect.runtime.telemetry.logs import logging_as
from jetspect.runtime.telemetry.settings import LogFormat, LogSettings

log = logging.getLogger(__name__)


def run(
    ctx: typer.Context,
    station: Annotated[Path, typer.Argument(help="Station file (TOML).", show_default=False)],
    check: Annotated[bool, typer.Option("--check", help="Open every part, then stop before the first frame.")] = False,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="How to log to stderr; the station file's [log] format by default.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a station until its source ends, or until SIGTERM or Ctrl-C; what was captured is still inspected and kept.

    With --json every result is one line on stdout, as it is published. With --log-format json every line on stderr is an
    object, the error that ends the command included.

    Example: jetspect run station.toml
    """
    try:
        config = load_station(station)
    except JetspectError:
        if log_format is not LogFormat.JSON:
            raise
        with logging_as(LogSettings(format=LogFormat.JSON)), _errors_as_log_lines(as_json):
            raise
    settings = _log_settings(config.log, log_format, verbose=bool(ctx.find_root().params.get("verbose")))
    for_machines = settings.format is LogFormat.JSON
    with logging_as(settings, config.station.unit), _errors_as_log_lines(as_json) if for_machines else nullcontext():
        _run(station, config, check=check, as_json=as_json, log_as_json=for_machines)


def _run(station: Path, config: StationConfig, *, check: bool, as_json: bool, log_as_json: bool) -> None:
    told = _tell_json if as_json else _tell
    notifier = Notifier() if check else Notifier.from_environment()
    notifier.status("opening the bundle, the engine and the cameras")
    with notifier, build_station(config, on_result=told) as running:
        if check:
            running.check()
            if as_json:
                print_json({"station": str(station), "ok": True})
            else:
                console.print(f"{station}: every part opens", style="bold green", markup=False)
            return
        with Heartbeat(notifier, running.telemetry) as heartbeat:

            def stop(*_: object) -> None:
                heartbeat.stopping()
                running.stop()

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, stop)
            waiting = running.run()
    counters = running.counters
    summary = {v.value: n for v, n in counters.verdicts.items()}
    if not as_json:
        counts = ", ".join(f"{n} {name}" for name, n in summary.items())
        console.print(f"{counters.inspected} frames: {counts}; {waiting} results wait in {config.outbox.path}")
    if waiting and config.broker is not None:
        broker = f"{config.broker.host}:{config.broker.port}"
        left = f"{waiting} results were not acknowledged by {broker}; they go out at the next start"
        if log_as_json:
            log.warning("%s", left, extra={"waiting": waiting})
        else:
            typer.echo(f"warning: {left}", err=True)


def _log_settings(told: LogSettings, log_format: LogFormat | None, *, verbose: bool) -> LogSettings:
    level = "info" if verbose and told.level in ("warning", "error") else told.level
    return LogSettings(format=log_format or told.format, level=level)


@contextmanager
def _errors_as_log_lines(as_json: bool) -> Iterator[None]:
    """End with exit code 2, as every command does, but say why in the log's format."""
    try:
        yield
    except JetspectError as error:
        log.critical("%s", error, extra={"error": type(error).__name__})
        told = error
    except Exception as error:
        # A fault of ours must not look like an answer (exit code 1) to a machine.
        told = JetspectError(f"unexpected {type(error).__name__}: {error}; report what the log says")
        log.critical("%s", told, exc_info=error, extra={"error": type(error).__name__})
    else:
        return
    if as_json:
        print_json({"error": {"type": type(told).__name__, "message": str(told)}})
    raise typer.Exit(2)


def _tell(frame: Frame | LostFrame, inspection: Inspection, message: ResultMessage) -> None:
    verdict = inspection.verdict.value
    reasons = escape(plain("; ".join(inspection.reasons)))
    frame_id, time_ms = escape(plain(frame.frame_id)), inspection.timings.total_ms
    console.print(
        f"{message.seq:>6}  [{VERDICT_STYLE[verdict]}]{verdict:7}[/]  {frame_id}  {time_ms:.0f} ms  {reasons}"
    )
    if message.part is not None and len(message.part.views) > 1:
        whole = message.part
        style = VERDICT_STYLE[whole.verdict.value]
        console.print(
            f"{'':8}[{style}]{whole.verdict.value:7}[/]  part {escape(plain(whole.part_id))}, {len(whole.views)} frames"
        )


def _tell_json(frame: Frame | LostFrame, inspection: Inspection, message: ResultMessage) -> None:
    sys.stdout.write(json.dumps(json.loads(message.payload())) + "\n")
    sys.stdout.flush()
