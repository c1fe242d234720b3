"""``jetspect subscribe``: see what stations publish."""

from __future__ import annotations

import os
import sys
from collections import deque
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from jetspect.cli.broker_options import with_broker_options
from jetspect.cli.output import VERDICT_STYLE, console
from jetspect.errors import InputError, PublishError
from jetspect.runtime.consuming.consumer import Consumer, leaving_on_signals, reply_filter
from jetspect.runtime.consuming.inbox import Inbox
from jetspect.runtime.consuming.reader import Received, ResultReader, plain
from jetspect.runtime.consuming.receipts import Receipts
from jetspect.runtime.consuming.recovery import Recovery
from jetspect.runtime.consuming.report import Tally, missing_lines, strangers_line
from jetspect.runtime.consuming.state import StateFile
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.result_message import ResultMessage

ROWS = 20


@with_broker_options
def subscribe(
    broker: BrokerSettings,
    topic: Annotated[str, typer.Option(help="Topic filter.")] = "jetspect/v1/+/+/+/+/result",
    client_id: Annotated[str, typer.Option(help="Fixed id: the broker keeps what comes while we are away.")] = "",
    count: Annotated[int, typer.Option(help="End after so many results; 0 goes on.")] = 0,
    quiet_s: Annotated[float, typer.Option(help="End after so many seconds without a message; 0 waits for ever.")] = 0,
    receipt: Annotated[str, typer.Option(help="Send receipts under this name. Needs --jsonl.")] = "",
    recover: Annotated[bool, typer.Option("--recover", help="Ask stations for what is missing.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Count from seq 1, not from the first result.")] = False,
    state: Annotated[
        Path | None, typer.Option(help="Where counts are kept; by default one file for each --client-id.")
    ] = None,
    as_lines: Annotated[bool, typer.Option("--jsonl", "--json", help="One result per line on stdout.")] = False,
) -> None:
    """Show results as they come: a live table, or with --jsonl one result per line. Repetitions are dropped.

    Gaps are told when they open, when they close and at the end. Exit code 1: results are missing at the end, or lost.

    Example: jetspect subscribe --host broker.plant
    """
    if receipt and not as_lines:
        raise InputError("a receipt says that results are kept, and a table keeps none; give --receipt with --jsonl")
    file = _state_file(state, broker, client_id)
    reader = file.load(from_first=history) if file else ResultReader(from_first=history)
    filters = [topic, reply_filter(topic)] if recover else [topic]
    inbox = Inbox(broker, filters, client_id=client_id)
    view = _Lines(file) if as_lines else _Table(file)
    consumer = Consumer(
        inbox,
        reader,
        view,
        receipts=Receipts(receipt, inbox) if receipt else None,
        recovery=Recovery(inbox) if recover else None,
        tell=view.tell,
    )
    view.tally = consumer.tally
    with leaving_on_signals(inbox.stopping), inbox, view:
        consumer.run(count=count, quiet_s=quiet_s or None)
    if file:
        file.save(reader)
    raise typer.Exit(_say_goodbye(consumer.tally, reader))


def _state_file(path: Path | None, settings: BrokerSettings, client_id: str) -> StateFile | None:
    if path is None and client_id:
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        name = "".join(c if c.isalnum() or c in "._-" else "_" for c in f"{settings.host}-{settings.port}-{client_id}")
        path = Path(base) / "jetspect" / f"subscribe-{name}.json"
    if path is None:
        return None
    file = StateFile(path)
    file.save(file.load())  # a place that cannot be written shows now, not after the first result
    return file


def _say_goodbye(tally: Tally, reader: ResultReader) -> int:
    for line in missing_lines(reader.stations):
        typer.echo(line, err=True)
    if strangers := strangers_line(tally):
        typer.echo(strangers, err=True)
    return int(tally.lost > 0 or any(ledger.holes for ledger in reader.stations.values()))


class _Lines:
    """JSON lines on stdout; what is wrong goes to stderr."""

    def __init__(self, state: StateFile | None) -> None:
        self.tally = Tally()
        self._state = state

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def tell(self, line: str) -> None:
        typer.echo(line, err=True)

    def keep(self, batch: list[Received], reader: ResultReader) -> bool:
        try:
            for received in batch:
                if received.message is not None and not received.repeated:
                    # Line ends in JSON are nothing but space; one result stays one line.
                    sys.stdout.write(received.payload.decode().replace("\n", " ").replace("\r", " ") + "\n")
            sys.stdout.flush()
        except OSError as error:
            # What the buffer still holds must not be tried again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
            raise PublishError(
                f"stdout cannot be written ({error.strerror or error}); nothing of this batch was acknowledged"
            ) from error
        if self._state is not None:
            self._state.save(reader)
        return True


class _Table:
    """The last results as a table that updates in place."""

    def __init__(self, state: StateFile | None) -> None:
        self.tally = Tally()
        self._state = state
        self._missing = 0
        self._rows: deque[tuple[str, ...]] = deque(maxlen=ROWS)
        self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4)

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tell(self, line: str) -> None:
        self._live.console.print(line, markup=False)

    def keep(self, batch: list[Received], reader: ResultReader) -> bool:
        for received in batch:
            if received.message is not None and not received.repeated:
                self._rows.append(_row(received.message))
        self._missing = sum(ledger.missing for ledger in reader.stations.values())
        if self._state is not None:
            self._state.save(reader)
        return True

    def _table(self) -> Table:
        tally = self.tally
        malformed = tally.not_results + tally.other_version
        title = f"{tally.results} results, {tally.repeated} repeated, {self._missing} missing, {malformed} malformed"
        table = Table("time", "station", "seq", "part", "verdict", "defects", "took", "reasons", title=title)
        for row in self._rows:
            table.add_row(*row)
        return table


def _row(message: ResultMessage) -> tuple[str, ...]:
    style = VERDICT_STYLE[message.verdict.value]
    station = "/".join((message.station.site, message.station.area, message.station.line, message.station.unit))
    return (
        f"{message.frame.inspected_at:%H:%M:%S}",
        escape(plain(station)),
        str(message.seq),
        escape(plain(_part(message))),
        f"[{style}]{message.verdict.value}[/]",
        str(len(message.defects)),
        f"{message.timings_ms.get('total', 0):.0f} ms",
        escape(plain("; ".join(message.reasons))),
    )


def _part(message: ResultMessage) -> str:
    frame = message.frame
    named = [frame.part_id or frame.id, frame.view or "", f"shot {frame.shot}" if (frame.shot or 1) > 1 else ""]
    return " ".join(word for word in named if word)
