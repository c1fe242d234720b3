"""``jetspect subscribe``: see what stations publish."""

from __future__ import annotations

import sys
from collections import deque
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from jetspect.cli.output import VERDICT_STYLE, JsonOption, console
from jetspect.runtime.publishing.messages import ResultMessage
from jetspect.runtime.publishing.mqtt import BrokerSettings, TlsSettings
from jetspect.runtime.publishing.subscriber import MqttSubscriber, Received, ResultReader
from jetspect.runtime.settings import parse_settings

ROWS = 20


def subscribe(
    host: Annotated[str, typer.Option(help="Broker.")] = "localhost",
    port: Annotated[int, typer.Option(help="Its port.")] = 1883,
    topic: Annotated[str, typer.Option(help="Topic filter.")] = "jetspect/v1/+/+/+/+/result",
    username: Annotated[str | None, typer.Option(help="User name.")] = None,
    password_env: Annotated[str | None, typer.Option(help="Environment variable with the password.")] = None,
    ca: Annotated[Path | None, typer.Option(help="CA certificate (PEM); switches TLS on.")] = None,
    client_id: Annotated[str, typer.Option(help="Fixed id: the broker keeps what comes while we are away.")] = "",
    count: Annotated[int, typer.Option(help="End after so many results; 0 goes on.")] = 0,
    quiet_s: Annotated[float, typer.Option(help="End after so many seconds without a message; 0 waits for ever.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show results as they come: a live table, or with --json one result per line. Repetitions are dropped.

    Example: jetspect subscribe --host broker.plant
    """
    settings = parse_settings(
        {
            "host": host,
            "port": port,
            "username": username,
            "password_env": password_env,
            "tls": TlsSettings(ca=ca) if ca else None,
        },
        BrokerSettings,
        where="subscribe",
    )
    view = _Lines() if as_json else _Table()
    reader = ResultReader()
    with MqttSubscriber(settings, topic, client_id=client_id) as subscriber, view:
        for where, payload in subscriber.messages(quiet_s or None):
            received = reader.read(where, payload)
            view.show(received)
            if count and view.results >= count:
                break


class _Lines:
    """JSON lines on stdout; what is wrong goes to stderr."""

    results = 0

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, received: Received) -> None:
        if received.message is None:
            typer.echo(f"{received.topic}: not a result ({received.fault})", err=True)
        elif not received.repeated:
            if received.missing:
                typer.echo(f"{received.topic}: {received.missing} results are missing before this one", err=True)
            self.results += 1
            sys.stdout.write(received.payload.decode() + "\n")
            sys.stdout.flush()


class _Table:
    """The last results as a table that updates in place."""

    def __init__(self) -> None:
        self.results = self._repeated = self._missing = self._malformed = 0
        self._rows: deque[tuple[str, ...]] = deque(maxlen=ROWS)
        self._live = Live(console=console, refresh_per_second=4)

    def __enter__(self) -> None:
        self._live.start()
        self._live.update(self._table())

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, received: Received) -> None:
        message = received.message
        self._malformed += message is None
        self._repeated += received.repeated
        self._missing += received.missing
        if message is not None and not received.repeated:
            self.results += 1
            style = VERDICT_STYLE[message.verdict.value]
            station = "/".join((message.station.site, message.station.area, message.station.line, message.station.unit))
            self._rows.append(
                (
                    f"{message.frame.inspected_at:%H:%M:%S}",
                    escape(station),
                    str(message.seq),
                    escape(_part(message)),
                    f"[{style}]{message.verdict.value}[/]",
                    str(len(message.defects)),
                    f"{message.timings_ms.get('total', 0):.0f} ms",
                    escape("; ".join(message.reasons)),
                )
            )
        self._live.update(self._table())

    def _table(self) -> Table:
        title = (
            f"{self.results} results, {self._repeated} repeated, {self._missing} missing, {self._malformed} malformed"
        )
        table = Table("time", "station", "seq", "part", "verdict", "defects", "took", "reasons", title=title)
        for row in self._rows:
            table.add_row(*row)
        return table


def _part(message: ResultMessage) -> str:
    frame = message.frame
    named = [frame.part_id or frame.id, frame.view or "", f"shot {frame.shot}" if (frame.shot or 1) > 1 else ""]
    return " ".join(word for word in named if word)
