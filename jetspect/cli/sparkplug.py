"""``jetspect sparkplug``: stations as devices of a Sparkplug B node."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from jetspect.cli.broker_options import with_broker_options
from jetspect.cli.output import JsonOption, console, print_json
from jetspect.runtime.consuming.consumer import leaving_on_signals
from jetspect.runtime.consuming.sparkplug import SparkplugBridge
from jetspect.runtime.publishing.broker import BrokerSettings


@with_broker_options
def sparkplug(
    *,
    group: Annotated[str, typer.Option(help="Sparkplug group.", show_default=False)],
    node: Annotated[str, typer.Option(help="Edge node; one process for each.", show_default=False)],
    namespace: Annotated[str, typer.Option(help="First level of the stations' topics.")] = "jetspect",
    broker: BrokerSettings,
    as_json: JsonOption = False,
) -> None:
    """Show stations as devices of a Sparkplug B edge node, until SIGTERM or Ctrl-C. A broker that is away is waited for.

    Sparkplug prescribes QoS 0 for data: results can be lost on this path. For all of them use ``jetspect archive``.

    Example: jetspect sparkplug --group plant-1 --node inspection --host broker.plant
    """
    stopping = threading.Event()
    bridge = SparkplugBridge(broker, group, node, namespace=namespace)
    with leaving_on_signals(stopping):
        bridge.start()
        try:
            stopping.wait()
        finally:
            bridge.close()
    if as_json:
        print_json({"births": bridge.births})
    else:
        console.print(f"{bridge.births} births of the node", markup=False)
