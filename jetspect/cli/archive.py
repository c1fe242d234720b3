"""``jetspect archive``: results into a database."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from jetspect.cli.broker_options import with_broker_options
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.runtime.consuming.archive import Archive
from jetspect.runtime.consuming.archivist import Archivist
from jetspect.runtime.consuming.consumer import Consumer, leaving_on_signals, reply_filter
from jetspect.runtime.consuming.inbox import Inbox
from jetspect.runtime.consuming.receipts import Receipts
from jetspect.runtime.consuming.recovery import Recovery
from jetspect.runtime.consuming.report import missing_lines
from jetspect.runtime.publishing.broker import BrokerSettings


@with_broker_options
def archive(
    database: Annotated[
        str, typer.Option(envvar="JETSPECT_DATABASE", help="URL, as sqlite:///results.db.", show_default=False)
    ],
    broker: BrokerSettings,
    topic: Annotated[str, typer.Option(help="Topic filter.")] = "jetspect/v1/+/+/+/+/result",
    client_id: Annotated[
        str, typer.Option(help="Fixed id: the broker keeps what comes meanwhile.")
    ] = "jetspect-archive",
    receipt: Annotated[str, typer.Option(help="Send receipts under this name.")] = "",
    recover: Annotated[bool, typer.Option("--recover", help="Ask stations for what is missing.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Count from seq 1, not from the first result.")] = False,
    batch: Annotated[int, typer.Option(min=1, max=10_000, help="Results in one transaction, at most.")] = 500,
    count: Annotated[int, typer.Option(help="End after so many results; 0 goes on.")] = 0,
    quiet_s: Annotated[float, typer.Option(help="End after so many seconds without a message; 0 waits for ever.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Store results in SQLite or PostgreSQL, each once. The broker keeps a result until it is committed.

    Ends on SIGTERM or Ctrl-C. Exit code 1: results are missing at the end, or lost.

    Example: jetspect archive --database postgresql://archive@db.plant/quality --host broker.plant --receipt archive
    """
    filters = [topic, reply_filter(topic)] if recover else [topic]
    inbox = Inbox(broker, filters, client_id=client_id, patient=True)
    receipts = Receipts(receipt, inbox) if receipt else None
    with closing(Archive(database)) as kept:
        reader = kept.load(from_first=history)
        archivist = Archivist(kept, inbox.stopping, _tell)
        recovery = Recovery(inbox) if recover else None
        consumer = Consumer(inbox, reader, archivist, receipts=receipts, recovery=recovery, tell=_tell)
        with leaving_on_signals(inbox.stopping), inbox:
            consumer.run(count=count, quiet_s=quiet_s or None, most=batch)
    for line in missing_lines(reader.stations):
        _tell(line)
    missing = sum(ledger.missing for ledger in reader.stations.values())
    lost = consumer.tally.lost
    if as_json:
        print_json({"stored": kept.stored, "rejected": kept.rejected, "missing": missing, "lost": lost})
    else:
        console.print(f"{kept.stored} results stored, {kept.rejected} messages rejected", markup=False)
    raise typer.Exit(int(missing > 0 or lost > 0))


def _tell(line: str) -> None:
    typer.echo(line, err=True)
