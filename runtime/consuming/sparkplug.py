"""A bridge to Sparkplug B: one edge node, each station a device of it.

Sparkplug 3.0 prescribes QoS 0 without retain for births and data: what a broker or a network drops is not sent again. This
is a view for screens and trends, never the path on which results must arrive.
"""

from __future__ import annotations

import logging
import queue
import time
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import ValidationError

from jetspect.errors import InputError
from jetspect.runtime.consuming.reader import ResultReader, plain
from jetspect.runtime.consuming.sparkplug_device import Device
from jetspect.runtime.consuming.sparkplug_payload import REBIRTH, Metric, asks_for_rebirth, encode, require_protobuf
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.link import Event, Link
from jetspect.runtime.publishing.messages import StatusMessage
from jetspect.runtime.publishing.topics import check_level

log = logging.getLogger(__name__)

_LEAVES = (("status", 1), ("result", 1), ("health", 0))
_NUMBERS = 256  # bdSeq and seq count from 0 to 255 and over again


class SparkplugBridge(Link):
    """Subscribes to stations of a namespace and publishes them as devices ``SITE:AREA:LINE:UNIT`` of a node.

    A ``:`` in a level is written ``%3A`` and a ``%`` ``%25``, so that no two stations are one device.

    Raises
    ------
    InputError
        A name that no topic can carry.
    """

    meanwhile = "; connecting again"

    def __init__(self, settings: BrokerSettings, group: str, node: str, *, namespace: str = "jetspect") -> None:
        require_protobuf()
        for level in (group, node, namespace):
            check_level(level)
        super().__init__(settings, settings.client_id or f"{group}.{node}")
        self._group, self._node, self._namespace = group, node, namespace
        self._devices: dict[str, Device] = {}
        self._reader = ResultReader()
        self._bd_seq = -1  # counts connections
        self._seq = 0
        self.births = 0

    def _topic(self, kind: str, device: str = "") -> str:
        return "/".join(("spBv1.0", self._group, kind, self._node, *([device] if device else [])))

    def _prepare(self, client: paho.Client, events: queue.SimpleQueue[Event]) -> dict[str, Any]:
        def on_message(c: paho.Client, data: Any, m: paho.MQTTMessage) -> None:
            if m.topic != self._topic("NCMD"):
                events.put(("message", (m.topic, bytes(m.payload))))
            elif not m.retain:  # a retained command would be carried out at every connection
                events.put(("command", bytes(m.payload)))

        def on_subscribe(c: paho.Client, data: Any, mid: int, codes: Any, properties: Any) -> None:
            events.put(("subscribed", codes))

        client.on_message, client.on_subscribe = on_message, on_subscribe
        self._bd_seq = (self._bd_seq + 1) % _NUMBERS
        client.will_set(self._topic("NDEATH"), self._death(), qos=1, retain=False)
        if self._settings.protocol != "5":
            return {}
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.SessionExpiryInterval = 0
        return {"clean_start": True, "properties": wishes}

    def _opened(self, client: paho.Client, properties: Properties | None) -> None:
        self._born = False
        client.subscribe(self._topic("NCMD"), qos=1)  # before the birth, so that no command goes past us

    def _handle(self, client: paho.Client, events: list[Event]) -> None:
        for kind, detail in events:
            if kind == "subscribed":
                self._take_grant(client, detail)
            elif kind == "command":
                self._obey(client, detail)
            elif kind == "message":
                self._take(client, *detail)

    def _take_grant(self, client: paho.Client, codes: Any) -> None:
        if any(code.is_failure for code in codes):
            where = self._settings.where
            self._set_state(f"refused: {where} refuses a subscription of the bridge; check its access list")
        if not self._born:
            self._born = True
            self._give_birth(client)
            filters = [(f"{self._namespace}/v1/+/+/+/+/{leaf}", qos) for leaf, qos in _LEAVES]
            client.subscribe(filters)

    def _obey(self, client: paho.Client, payload: bytes) -> None:
        try:
            if asks_for_rebirth(payload):
                self._give_birth(client)
        except InputError as error:
            log.warning("a command to the node was ignored: %s", error)

    def _give_birth(self, client: paho.Client) -> None:
        """Publish the node, then every device that is alive; the count of messages begins anew."""
        self._seq = 0
        self.births += 1
        own = [Metric("bdSeq", "uint64", self._bd_seq), Metric(REBIRTH, "bool", False)]
        self._publish(client, self._topic("NBIRTH"), own)
        for name, device in self._devices.items():
            if device.born:
                self._publish(client, self._topic("DBIRTH", name), device.metrics())

    def _take(self, client: paho.Client, topic: str, payload: bytes) -> None:
        *_, site, area, line, unit, leaf = topic.split("/")
        name = ":".join(level.replace("%", "%25").replace(":", "%3A") for level in (site, area, line, unit))
        device = self._devices.setdefault(name, Device())
        if leaf == "status":
            self._take_status(client, name, device, payload)
            return
        changed = self._values(device, leaf, topic, payload)
        if device.born and changed:
            self._publish(client, self._topic("DDATA", name), changed)

    def _take_status(self, client: paho.Client, name: str, device: Device, payload: bytes) -> None:
        try:
            online = StatusMessage.model_validate_json(payload).state == "online"
        except ValidationError as error:
            log.warning("a status of %s is none: %s", plain(name), error.errors(include_url=False)[0]["msg"])
            return
        if online and not device.born:
            self._publish(client, self._topic("DBIRTH", name), device.metrics())
        elif not online and device.born:
            self._publish(client, self._topic("DDEATH", name), [])
        device.born = online

    def _values(self, device: Device, leaf: str, topic: str, payload: bytes) -> list[Metric]:
        if leaf == "result":
            received = self._reader.read(topic, payload)
            if received.message is None:
                log.warning("%s: not a result (%s)", plain(topic), plain(received.fault))
            fresh = received.message is not None and not received.repeated
            return device.take_result(received.message) if received.message is not None and fresh else []
        try:
            return device.take_health(HealthMessage.model_validate_json(payload))
        except ValidationError as error:
            log.warning("%s: not a health message (%s)", plain(topic), error.errors(include_url=False)[0]["msg"])
            return []

    def _publish(self, client: paho.Client, topic: str, metrics: list[Metric]) -> None:
        client.publish(topic, encode(metrics, _now_ms(), self._seq), qos=0, retain=False)
        self._seq = (self._seq + 1) % _NUMBERS

    def _death(self) -> bytes:
        return encode([Metric("bdSeq", "uint64", self._bd_seq)], _now_ms(), None)

    def _lost(self) -> None:
        # Whether a station went away meanwhile, its retained status says at the next connection.
        for device in self._devices.values():
            device.born = False

    def _goodbye(self, client: paho.Client) -> None:
        info = client.publish(self._topic("NDEATH"), self._death(), qos=1, retain=False)
        deadline = time.monotonic() + 2
        while not info.is_published() and time.monotonic() < deadline:
            if not self._turn(client, 0.05):
                return


def _now_ms() -> int:
    return int(time.time() * 1000)
