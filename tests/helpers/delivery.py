"""What tests of the delivery share: a station's results, a publisher, a durable subscriber."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.message_base import ModelInfo, StationAddress
from jetspect.runtime.publishing.messages import MetaMessage
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.results import Defect, Inspection, ModelIdentity, Verdict

TOPICS = Topics("jetspect", "s", "a", "l", "u")
ADDRESS = StationAddress(namespace="jetspect", site="s", area="a", line="l", unit="u")
MODEL = ModelIdentity("m", "1", "0" * 64, "fp32", "test")


def inspection(number: int = 0) -> Inspection:
    defect = Defect("pit", 5, (1, 2, 4, 5), (2.0, 3.0), 0.9, 0.5, ((1, 2), (3, 4)), False)
    now = utc_now()
    return Inspection(f"f{number}", now, now, Verdict.NOK, ("1 defect",), (defect,), (100, 80), MODEL)


def meta() -> MetaMessage:
    model = ModelInfo(name="m", version="1", manifest_sha256="0" * 64, precision="fp32", engine="test")
    return MetaMessage(
        station=ADDRESS, at=utc_now(), jetspect="0", model=model, classes=("pit",), tile_px=1, device={}, golden=""
    )


def commit(outbox: Outbox, number: int = 0) -> int:
    def build(seq: int, event: str) -> bytes:
        return result_message(inspection(number), ADDRESS, seq, event).payload()

    return outbox.commit(TOPICS.result, build)[0]


@contextmanager
def publishing(
    outbox: Outbox, port: int, commands: CommandSettings | None = None, **settings: Any
) -> Iterator[MqttPublisher]:
    broker = BrokerSettings.model_validate({"host": "127.0.0.1", "port": port, **settings})
    publisher = MqttPublisher(broker, outbox, TOPICS, meta, commands)
    publisher.start()
    try:
        yield publisher
    finally:
        publisher.close()


def wait_for(what: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


class Durable:
    """A plain paho subscriber whose session the broker keeps; it reconnects on its own."""

    def __init__(self, port: int) -> None:
        self.events: list[tuple[int, str]] = []
        self._lock = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="durable", protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("jetspect/v1/+/+/+/+/result", qos=1)
        self._client.on_message = self._take
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self._client.connect("127.0.0.1", port, keepalive=5, clean_start=False, properties=properties)
        self._client.loop_start()

    def _take(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        with self._lock:
            self.events.append((body["seq"], body["event_id"]))

    def seen(self) -> dict[int, set[str]]:
        with self._lock:
            found: dict[int, set[str]] = {}
            for seq, event in self.events:
                found.setdefault(seq, set()).add(event)
            return found

    def missing(self, seqs: Iterable[int]) -> set[int]:
        return set(seqs) - self.seen().keys()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
