"""Carry the outbox to an MQTT broker."""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from jetspect import __version__
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.aside import Aside
from jetspect.runtime.publishing.broker import BrokerSettings, TlsSettings
from jetspect.runtime.publishing.commands import Commands, CommandSettings
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.intake import Asked, Intake
from jetspect.runtime.publishing.link import Event, Link
from jetspect.runtime.publishing.messages import MetaMessage, StatusMessage
from jetspect.runtime.publishing.outbox import Outbox, Row
from jetspect.runtime.publishing.properties import ResultProperties
from jetspect.runtime.publishing.requests import ReplayReply
from jetspect.runtime.publishing.slots_message import ShadowMessage
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.publishing.triggers import Trigger, Triggers

__all__ = ["BrokerSettings", "Counters", "MqttPublisher", "TlsSettings"]

log = logging.getLogger(__name__)

_HOLD_S = 2.0  # after a refused result, before the next one is tried
_PUT_OFF_S = 60.0  # until a refused result itself is tried again
_TOPIC_BYTES = 4096  # what a request may have beside its payload: topic and properties
_MOST_REPLIES = 500  # to triggers, that the broker has not taken yet; more go without
_HEADER_BYTES = 256  # more than a PUBLISH packet adds to topic and payload


@dataclass
class Counters:
    """What a publisher did since its start."""

    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    reconnects: int = 0


class MqttPublisher(Link):
    """Publishes an outbox in order, QoS 1, and never gives up.

    A row is acknowledged in the outbox on the broker's PUBACK. After a broken connection whatever has none goes out again, in
    order. A PUBACK is no proof of durability either (a broker can die before it writes), so what was acknowledged in the
    last ``replay_s`` seconds of a connection that broke goes out again too; also after a kill of this process. Repetitions
    carry the same ``event_id``. A row that the broker refuses is put off, so that it does not hold up the others.
    """

    meanwhile = "; results wait in the outbox"

    def __init__(
        self,
        settings: BrokerSettings,
        outbox: Outbox,
        topics: Topics,
        meta: Callable[[], MetaMessage],
        commands: CommandSettings | None = None,
        trigger: Trigger | None = None,
    ) -> None:
        super().__init__(settings, settings.client_id or topics.leaf("station").replace("/", "."))
        self._outbox, self._topics, self._meta = outbox, topics, meta
        allowed = commands or CommandSettings()
        self._commands = Commands(allowed, outbox, topics)
        # Away from the link's thread: each may wait for the disk, and a trigger must not.
        self._asked: Aside[ReplayReply | None] = Aside("jetspect-commands", self._wake)
        self._intake = Intake(allowed.max_bytes, allowed.per_s)
        self._triggers = Triggers(trigger, allowed.max_bytes) if trigger is not None else None
        self._largest_request = allowed.max_bytes + _TOPIC_BYTES
        self.counters = Counters()
        self.on_acknowledged: Callable[[list[int]], None] | None = None  # called in the link's thread, with each seq
        self._waking = False
        self._changed = False  # what stands in meta
        self._connections = 0
        self._recent: deque[tuple[float, int]] = deque()  # (monotonic time of the PUBACK, seq), for the replay
        self._reset()

    def start(self) -> None:
        """Connect and publish in the background. A broker that is not there yet is waited for."""
        if self._settings.replay_s:
            self._outbox.reopen(self._outbox.unsettled(self._settings.replay_s))
        super().start()

    def notify(self) -> None:
        """Say that the outbox has something new."""
        if not self._waking:  # one wake-up is enough for any number of rows
            self._waking = True
            self._wake()

    @property
    def requests_ignored(self) -> int:
        """Requests that were not carried out, whatever the reason."""
        triggers = 0 if self._triggers is None else self._triggers.refused
        return self._commands.refused + self._intake.dropped + triggers

    def alarms(self) -> tuple[str, ...]:
        """What needs a person, as 'kind: what happened and what to do'."""
        found = self._too_large  # replaced by the link's thread at any time
        return (*super().alarms(), *([f"result_too_large: {self._over_limit(found)}"] if found else []))

    def _over_limit(self, found: dict[int, int]) -> str:
        seq, size = next(reversed(found.items()))
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return (
            f"result {seq}{more} of {size} bytes is larger than the {self._largest} that {self._settings.where} takes; "
            "nothing is lost, it waits in the outbox: raise the broker's limit and restart it"
        )

    def health(self, message: HealthMessage) -> None:
        """Publish counters at QoS 0; lost while the broker is away."""
        self._tell(self._topics.health, message.payload())

    def shadow(self, message: ShadowMessage) -> None:
        """Publish a difference at QoS 0; lost while the broker is away."""
        self._tell(self._topics.shadow, message.payload())

    def _tell(self, topic: str, payload: bytes) -> None:
        client = self._client
        if client is not None:
            client.publish(topic, payload, qos=0)
            self._wake()

    def announce(self) -> None:
        """Say that what stands in meta has changed; callable from any thread."""
        self._changed = True
        self._wake()

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged, at most so long; return how many are still in the outbox."""
        deadline = time.monotonic() + timeout_s
        self.notify()
        while (left := self._outbox.depth()) and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.02)
        return left

    def _reset(self) -> None:
        """Forget what belongs to one connection."""
        self._inflight: dict[int, Row] = {}  # paho's message id -> row
        self._own: dict[int, str] = {}  # the same for status and meta
        self._put_off: dict[int, float] = {}  # seq -> monotonic time from which it may be tried again
        self._next = 0  # the highest seq that went out
        self._hold_until = 0.0
        self._limit = self._window = self._settings.max_inflight
        self._largest = 0  # bytes of a packet; 0: no limit
        self._too_large: dict[int, int] = {}  # seq -> bytes

    def _prepare(self, client: paho.Client, events: queue.SimpleQueue[Event]) -> dict[str, Any]:
        def on_publish(c: paho.Client, data: Any, mid: int, code: ReasonCode, properties: Properties) -> None:
            events.put(("answer", (mid, code)))

        def on_subscribe(c: paho.Client, data: Any, mid: int, codes: list[ReasonCode], properties: Any) -> None:
            events.put(("subscribed", codes))

        def on_message(c: paho.Client, data: Any, message: paho.MQTTMessage) -> None:
            if message.retain:  # a retained command would be carried out at every connection
                return
            payload = bytes(message.payload)
            if message.topic == self._topics.trigger:
                events.put(("trigger", (payload, time.monotonic())))
            else:
                self._intake.put(message.topic, payload)

        client.on_publish, client.on_subscribe, client.on_message = on_publish, on_subscribe, on_message
        will = StatusMessage(state="offline", reason="connection lost", jetspect=__version__)
        client.will_set(self._topics.status, will.payload(), qos=1, retain=True)
        if self._settings.protocol != "5":
            return {}
        limits = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        limits.MaximumPacketSize = self._largest_request  # a broker keeps larger ones to itself
        return {"properties": limits}

    def _opened(self, client: paho.Client, properties: Properties | None) -> None:
        self._reset()
        self._limit = self._window = min(self._settings.max_inflight, getattr(properties, "ReceiveMaximum", 65535))
        self._largest = getattr(properties, "MaximumPacketSize", 0)
        self.counters.reconnects += self._connections > 0
        self._connections += 1
        self._outbox.note_connection(sound=False)
        wanted = (*self._commands.topics, *((self._topics.trigger,) if self._triggers is not None else ()))
        if wanted:  # before the station says that it is online: then it listens
            client.subscribe([(topic, 1) for topic in wanted])
        self._changed = False
        self._announce(client, "meta", self._topics.meta, self._meta().payload())
        online = StatusMessage(state="online", at=utc_now(), jetspect=__version__)
        self._announce(client, "status", self._topics.status, online.payload())
        self._send(client)

    def _announce(self, client: paho.Client, what: str, topic: str, payload: bytes) -> None:
        self._own[client.publish(topic, payload, qos=1, retain=True).mid] = what

    def _handle(self, client: paho.Client, events: list[Event]) -> None:
        self._waking = False
        self._take_answers([detail for kind, detail in events if kind == "answer"])
        for kind, detail in events:
            if kind == "trigger":
                self._start_picture(client, *detail)
            elif kind == "subscribed" and any(code.is_failure for code in detail):
                log.error("%s refuses the subscription to commands; check its access list", self._settings.where)
        if self._client is not None:
            if self._changed:
                self._changed = False
                self._announce(client, "meta", self._topics.meta, self._meta().payload())
            self._carry_out(client)
            self._send(client)

    def _start_picture(self, client: paho.Client, payload: bytes, came_at: float) -> None:
        if self._triggers is None:
            return
        asked = Asked(self._topics.trigger, payload, len(payload))
        reply = self._triggers.handle(asked, time.monotonic() - came_at)
        if self._client is not None and len(self._own) < _MOST_REPLIES:
            self._own[client.publish(self._topics.trigger_reply, reply.payload(), qos=1).mid] = "reply"

    def _carry_out(self, client: paho.Client) -> None:
        """Answer requests whose turn it is, one at a time, as far as the broker takes answers now."""
        if self._asked.busy and not self._asked.done:
            return
        reply = self._asked.take() if self._asked.busy else None
        if reply is not None:
            self._own[client.publish(self._topics.replay_reply, reply.payload(), qos=1).mid] = "reply"
            if reply.queued:
                self._next = 0  # what was asked for stands before what went out last
        if len(self._inflight) + len(self._own) < self._limit and (asked := self._intake.take()) is not None:
            self._asked.start(lambda: self._commands.handle(asked))

    def _take_answers(self, answers: list[tuple[int, ReasonCode]]) -> None:
        acked = []
        for mid, code in answers:
            row = self._inflight.pop(mid, None)
            if row is None:
                what = self._own.pop(mid, "")
                if code.is_failure:
                    log.error("%s refuses the %s message (%s); check its access list", self._settings.where, what, code)
            elif code.is_failure:
                self._refused(row, str(code))
            else:
                acked.append(row.seq)
        if acked:
            self._outbox.ack(acked)
            self.counters.acknowledged += len(acked)
            if self.on_acknowledged is not None:
                self.on_acknowledged(acked)
            self._remember(acked)
            self._window = self._limit
            if self.state.startswith("refused"):
                self._set_state("online")

    def _refused(self, row: Row, reason: str) -> None:
        now = time.monotonic()
        self.counters.refused += 1
        self._put_off[row.seq] = now + _PUT_OFF_S
        self._window, self._hold_until = 1, now + _HOLD_S  # try one at a time until one is taken
        self._set_state(
            f"refused: {self._settings.where} refuses results on {row.topic} ({reason}); check its access list and limits"
        )

    def _remember(self, seqs: list[int]) -> None:
        now = time.monotonic()
        self._recent.extend((now, seq) for seq in seqs)
        while self._recent[0][0] < now - self._settings.replay_s:
            self._recent.popleft()

    def _send(self, client: paho.Client) -> None:
        now = time.monotonic()
        room = self._window - len(self._inflight) - len(self._own)
        if room <= 0 or now < self._hold_until:
            return
        if room < self._window // 4 and self._inflight:
            return  # answers are on their way: a few rows at a time would cost a query each
        if any(at <= now for at in self._put_off.values()):
            self._put_off = {seq: at for seq, at in self._put_off.items() if at > now}
            self._next = 0
        skip = self._put_off.keys() | {row.seq for row in self._inflight.values()}
        for row in self._outbox.pending(self._next, room + len(skip)):
            if row.seq in skip:
                continue
            if room <= 0:
                return
            if self._largest and len(row.payload) + len(row.topic) + _HEADER_BYTES > self._largest:
                self._put_off[row.seq] = float("inf")
                self._too_large = {**self._too_large, row.seq: len(row.payload)}  # read from other threads
                log.error("%s", self._over_limit(self._too_large))
                continue
            extra = ResultProperties(row.seq, row.event_id) if self._settings.protocol == "5" else None
            info = client.publish(row.topic, row.payload, qos=1, properties=extra)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                return  # the connection is going; the row goes out on the next one
            self._inflight[info.mid] = row
            self._next = row.seq
            self.counters.published += 1
            room -= 1

    def _lost(self) -> None:
        """Let go out again what a broker that died may have acknowledged and not kept."""
        now, recent = time.monotonic(), self._recent
        self._recent = deque()
        # A death is noticed after two keep-alives at the latest: what was acknowledged long before that is settled.
        if recent and recent[-1][0] >= now - self._settings.replay_s - 2 * self._settings.keepalive_s:
            self._outbox.reopen([seq for at, seq in recent if at >= recent[-1][0] - self._settings.replay_s])

    def _finish(self, client: paho.Client) -> None:
        """Send nothing more, and take the acknowledgements that are on their way; the rest goes out again."""
        self._hold_until = float("inf")
        deadline = time.monotonic() + 3
        while (self._inflight or self._own) and time.monotonic() < deadline and not self._stopping.is_set():
            if not self._turn(client, 0.1):
                return

    def _goodbye(self, client: paho.Client) -> None:
        """Say that the station goes on purpose (retained), and take the last acknowledgements."""
        self._hold_until = float("inf")
        bye = StatusMessage(state="offline", reason="stopped", at=utc_now(), jetspect=__version__)
        info = client.publish(self._topics.status, bye.payload(), qos=1, retain=True)
        deadline = time.monotonic() + 3
        while not info.is_published() and time.monotonic() < deadline:
            if not self._turn(client, 0.1):
                return
        self._turn(client, 0.0)
        if info.is_published():
            self._outbox.note_connection(sound=True)
