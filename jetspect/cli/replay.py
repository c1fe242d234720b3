"""``jetspect replay``: ask a station for results again."""

from __future__ import annotations

from typing import Annotated

import typer

from jetspect.cli.broker_options import with_broker_options
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import InputError
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.replay import request_replay
from jetspect.runtime.publishing.topics import Topics


@with_broker_options
def replay(
    *,
    station: Annotated[str, typer.Argument(help="NAMESPACE/SITE/AREA/LINE/UNIT.", show_default=False)],
    first: Annotated[int, typer.Option("--from", min=1, help="The first seq.", show_default=False)],
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last seq; the newest by default.")] = None,
    broker: BrokerSettings,
    timeout_s: Annotated[float, typer.Option(min=1, help="How long to wait for the answer.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Ask a station to publish a range of results again. They come on its result topic, with the event_id they had.

    The station file must say commands.replay = true. Exit code 1 when the station refuses.

    Example: jetspect replay jetspect/plant-1/press-shop/line-2/island-3 --from 120 --to 140 --host broker.plant
    """
    levels = station.split("/")
    if len(levels) != 5:
        raise InputError(f"a station is NAMESPACE/SITE/AREA/LINE/UNIT, five levels; got {len(levels)}: {station!r}")
    if last is not None and last < first:
        raise InputError(f"--to {last} is below --from {first}; give the lower one first")
    reply = request_replay(broker, Topics(*levels), first, last, timeout_s=timeout_s)
    if as_json:
        print_json(reply.model_dump(mode="json"))
    elif reply.accepted:
        console.print(f"{reply.queued} results come again; {reply.gone} are no longer there", markup=False)
    else:
        console.print(f"refused: {reply.reason}", markup=False)
    if not reply.accepted:
        raise typer.Exit(1)
