"""One message by a connection of its own: it is with the broker, or the caller knows why not."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as paho
import pytest

from jetspect.errors import PublishError
from jetspect.runtime.publishing.announce import announce
from jetspect.runtime.publishing.broker import BrokerSettings, make_client


def at(port: int) -> BrokerSettings:
    return BrokerSettings(host="127.0.0.1", port=port)


def test_the_message_is_retained_when_announce_returns(mosquitto: Callable[..., Any]) -> None:
    broker = mosquitto()
    announce(at(broker.port), "unit", "a/b", b"first")
    announce(at(broker.port), "unit", "a/b", b"second")
    received: list[paho.MQTTMessage] = []
    client = make_client(at(broker.port), "watcher")
    client.on_connect = lambda c, *_: c.subscribe("a/#", qos=1)
    client.on_message = lambda c, data, message: received.append(message)
    client.connect("127.0.0.1", broker.port)
    while not received:
        client.loop(timeout=5)
    client.disconnect()
    assert [(m.topic, m.payload, m.retain) for m in received] == [("a/b", b"second", True)]


def test_a_broker_that_does_not_take_it_is_told(mosquitto: Callable[..., Any], tmp_path: Any) -> None:
    (tmp_path / "acl").write_text("topic write elsewhere\n")
    broker = mosquitto(f"allow_anonymous true\nacl_file {tmp_path}/acl")
    with pytest.raises(PublishError, match=r"does not take a/b \(Not authorized\); check its access list"):
        announce(at(broker.port), "unit", "a/b", b"x")
    closed = mosquitto("allow_anonymous false")
    with pytest.raises(PublishError, match="refuses the login"):
        announce(at(closed.port), "unit", "a/b", b"x")
    closed.kill()
    with pytest.raises(PublishError, match="nothing listens there"):
        announce(at(closed.port), "unit", "a/b", b"x")


def test_something_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(PublishError, match="does not answer"):
        announce(at(silent.getsockname()[1]), "unit", "a/b", b"x", limit_s=0.3)
