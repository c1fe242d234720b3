"""An MQTT broker inside this process (amqtt), for the demo and benchmarks. Plants run mosquitto or another real one."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jetspect.errors import MissingDependencyError, PublishError


@contextmanager
def embedded_broker(host: str = "127.0.0.1") -> Iterator[int]:
    """Run a broker on a free loopback port and yield the port.

    Raises
    ------
    MissingDependencyError
        amqtt is not installed.
    PublishError
        The broker does not start.
    """
    try:
        from amqtt.broker import Broker
    except ImportError as error:
        raise MissingDependencyError("amqtt", "the embedded broker", "pip install 'jetspect[demo]'") from error
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with socket.socket() as probe:
        probe.bind((host, 0))
        port = int(probe.getsockname()[1])
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    loop = asyncio.new_event_loop()
    started: list[BaseException | None] = []
    ready = threading.Event()

    def serve() -> None:
        asyncio.set_event_loop(loop)
        broker = Broker(config, loop=loop)
        try:
            loop.run_until_complete(broker.start())
        except BaseException as error:  # handed to the caller below
            started.append(error)
            ready.set()
            return
        started.append(None)
        ready.set()
        loop.run_forever()
        loop.run_until_complete(broker.shutdown())

    thread = threading.Thread(target=serve, name="jetspect-broker", daemon=True)
    thread.start()
    ready.wait(timeout=15)
    if not started or started[0] is not None:
        raise PublishError(f"the embedded broker does not start: {started[0] if started else 'no answer in 15 s'}")
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
