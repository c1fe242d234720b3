"""The other end of a soak: a line controller that triggers parts, and keeps what it was told of each."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from jetspect.runtime.publishing.topics import Topics


@dataclass
class Sent:
    """One trigger, what the broker said to it, and the station's answer. Times are monotonic seconds."""

    at: float
    answer: str = ""
    """accepted, refused, or empty: none came."""
    answered_at: float = 0.0
    puback: str = ""
    """taken: the broker passed it on; nobody: no station was there; empty: no PUBACK came."""


class Controller:
    """Triggers parts while the station says that it is online; its session lives on at the broker while it is away."""

    def __init__(self, port: int, topics: Topics) -> None:
        self._topics = topics
        self._lock = threading.Lock()
        self.sent: dict[str, Sent] = {}
        self.received: dict[str, dict[str, Any]] = {}
        self.repeated = 0  # by the station; what the broker itself sends again says so
        self.connections: list[float] = []  # when the station was heard to connect
        self._last_status = ""
        self._mids: dict[int, str] = {}  # paho's message id -> part
        self._pubacks: dict[int, str] = {}
        self.health: dict[str, Any] = {}
        self._online = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="soak-controller", protocol=paho.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_disconnect = lambda *_: self._online.clear()
        self._client.on_message = self._take
        self._client.on_publish = self._note_puback
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 24 * 3600
        self._client.connect("127.0.0.1", port, keepalive=5, clean_start=False, properties=properties)
        self._client.loop_start()

    @property
    def online(self) -> bool:
        """Whether the station is, as far as one can see from here."""
        return self._online.is_set()

    def trigger(self, part_id: str) -> None:
        """Send one trigger; where the broker goes away just now it goes out again, and the station takes it once."""
        with self._lock:
            self.sent[part_id] = Sent(time.monotonic())
        payload = json.dumps({"request_id": part_id, "part_id": part_id}).encode()
        self._mids[self._client.publish(self._topics.trigger, payload, qos=1).mid] = part_id

    def note_pubacks(self) -> bool:
        """Put what the broker said beside the triggers; False while it owes one."""
        for mid, said in list(self._pubacks.items()):
            if (part := self._mids.get(mid)) is not None:
                self.sent[part].puback = said
        return all(sent.puback for sent in self.sent.values())

    def _note_puback(self, client: paho.Client, userdata: Any, mid: int, code: Any, properties: Any) -> None:
        # Called under a lock of paho's, which publishing takes too: no lock of ours here.
        self._pubacks[mid] = "nobody" if str(code) == "No matching subscribers" else "taken"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: paho.Client, *_: Any) -> None:
        t = self._topics
        client.subscribe([(t.result, 1), (t.trigger_reply, 1), (t.status, 1), (t.health, 0)])

    def _take(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if message.topic == self._topics.status:
            (self._online.set if body["state"] == "online" else self._online.clear)()
            if body["state"] == "online" and body["at"] != self._last_status:  # not the retained one again
                self._last_status = body["at"]
                self.connections.append(time.monotonic())
        elif message.topic == self._topics.health:
            self.health = body
        elif message.topic == self._topics.result:
            with self._lock:
                self.repeated += body["event_id"] in self.received and not message.dup
                self.received.setdefault(body["event_id"], body)
        else:
            with self._lock:
                sent = self.sent.get(body["request_id"])
                if sent is not None:
                    sent.answered_at = sent.answered_at or time.monotonic()
                    sent.answer = "accepted" if body["accepted"] else "refused"
