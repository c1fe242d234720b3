"""Messages that stay with the broker until they are kept."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from jetspect.errors import PublishError
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.link import Event, Link
from jetspect.runtime.publishing.subscriber import check_filter

log = logging.getLogger(__name__)

KEEP_S = 7 * 24 * 3600  # the broker keeps the session of a consumer that is away
_AT_ONCE = 1000  # messages without an acknowledgement that we take
_GATHER_S = 0.01  # a batch ends when nothing more comes for so long
_LOOK_S = 0.2
_NOWHERE = "jetspect/nowhere"  # a filter that nobody subscribes to


@dataclass(frozen=True)
class Letter:
    """One message, and the connection that can acknowledge it."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    client: paho.Client


class Inbox(Link):
    """Receives topic filters at QoS 1 and acknowledges a message only when it is told to.

    What has no acknowledgement when a connection breaks or this process dies, the broker sends again, given a ``client_id``
    and a session that it keeps. An acknowledgement belongs to the connection that the message came on: for an older one it
    is dropped, because the broker may have given its number to another message.

    Parameters
    ----------
    patient
        A broker that is not there yet is waited for, in the background. Otherwise entering raises PublishError, at once or
        after ``timeout_s``. A login or a subscription that is refused raises it in any case.
    """

    meanwhile = "; connecting again"

    def __init__(
        self,
        settings: BrokerSettings,
        filters: Sequence[str],
        *,
        client_id: str = "",
        patient: bool = False,
        timeout_s: float = 10.0,
    ) -> None:
        for one in filters:
            check_filter(one)
        super().__init__(settings, client_id, clean=not client_id)
        self._filters, self._patient, self._timeout_s = tuple(filters), patient, timeout_s
        self._arrived: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._kept: deque[Letter] = deque()
        self._unsent: list[paho.MQTTMessageInfo] = []  # published by us, not acknowledged by the broker
        self._subscribed = threading.Event()
        self._answered = False  # the goodbye
        self.stopping = threading.Event()
        self.connections = 0

    def __enter__(self) -> Inbox:
        self.start()
        deadline = time.monotonic() + self._timeout_s
        while not self._subscribed.wait(0.02) and not self.stopping.is_set():
            away = self.state.startswith("unreachable") or time.monotonic() > deadline
            if away and self._patient:
                break
            if away or self.state.startswith(("refused", "failed")):
                told = self.state.partition(": ")[2]  # without the word that says of which kind it is
                self.close()
                raise PublishError(told or f"{self._settings.where}: no answer within {self._timeout_s:.0f} s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def batches(self, most: Callable[[], int], quiet_s: float | None = None) -> Iterator[list[Letter]]:
        """Yield what has come, at most so much at once; an empty list after 0.2 s without any.

        Ends after ``quiet_s`` without a message, or when ``stopping`` is set.
        """
        last = time.monotonic()
        while not self.stopping.is_set():
            batch = self._gather(most())
            if batch:
                last = time.monotonic()
            elif quiet_s is not None and time.monotonic() - last >= quiet_s:
                return
            yield batch

    def acknowledge(self, letters: Sequence[Letter]) -> None:
        """Say that messages are kept: the broker may forget them."""
        self._kept.extend(letters)
        self._wake()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Send at QoS 1; False while there is no connection."""
        client = self._client
        if client is None:
            return False
        info = client.publish(topic, payload, qos=1)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            return False
        self._unsent = [one for one in self._unsent if not one.is_published()] + [info]
        self._wake()
        return True

    def _set_state(self, state: str) -> None:
        if self._patient or self._subscribed.is_set():
            super()._set_state(state)
        else:
            self.state = state  # raised on entering, not logged

    def _gather(self, most: int) -> list[Letter]:
        batch: list[Letter] = []
        wait_s = _LOOK_S
        while len(batch) < most:
            try:
                batch.append(self._arrived.get(timeout=wait_s))
            except queue.Empty:
                break
            wait_s = _GATHER_S
        return batch

    def _prepare(self, client: paho.Client, events: queue.SimpleQueue[Event]) -> dict[str, Any]:
        client.manual_ack_set(True)
        self._unsent = []

        def on_message(c: paho.Client, data: Any, m: paho.MQTTMessage) -> None:
            self._arrived.put(Letter(m.topic, bytes(m.payload), m.mid, m.qos, c))

        def on_subscribe(c: paho.Client, data: Any, mid: int, codes: Any, properties: Any) -> None:
            events.put(("subscribed", codes))

        def on_publish(c: paho.Client, data: Any, mid: int, code: Any, properties: Any) -> None:
            if code.is_failure:
                events.put(("denied", code))

        def on_unsubscribe(c: paho.Client, data: Any, mid: int, codes: Any, properties: Any) -> None:
            events.put(("answered", None))

        client.on_unsubscribe = on_unsubscribe
        client.on_message, client.on_subscribe, client.on_publish = on_message, on_subscribe, on_publish
        if self._settings.protocol != "5":
            return {}
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        wishes.ReceiveMaximum = _AT_ONCE
        wishes.SessionExpiryInterval = 0 if self._clean else KEEP_S
        return {"clean_start": self._clean, "properties": wishes}

    def _opened(self, client: paho.Client, properties: Properties | None) -> None:
        client.subscribe([(one, 1) for one in self._filters])

    def _handle(self, client: paho.Client, events: list[Event]) -> None:
        for kind, detail in events:
            if kind == "subscribed":
                self._take_grants(detail)
            elif kind == "answered":
                self._answered = True
            elif kind == "denied":
                log.warning("%s refuses a message of ours (%s); check its access list", self._settings.where, detail)
        while self._kept:
            letter = self._kept.popleft()
            if letter.client is client and letter.qos:
                client.ack(letter.mid, letter.qos)

    def _take_grants(self, codes: Any) -> None:
        refused = [one for one, code in zip(self._filters, codes, strict=False) if code.is_failure]
        if refused:
            where = self._settings.where
            self._set_state(f"refused: {where} refuses the subscription to {refused[0]}; check its access list")
            return
        self.connections += 1
        self._subscribed.set()

    def _goodbye(self, client: paho.Client) -> None:
        """Let the last acknowledgements and receipts out.

        A broker works through what it gets in order: when it has answered something that means nothing, it has them all. Closed
        earlier, with unread data, a socket takes back what it sent last.
        """
        self._turn(client, 0.0)
        client.unsubscribe(_NOWHERE)
        deadline = time.monotonic() + 2
        while self._turn(client, 0.05) and time.monotonic() < deadline:
            if self._answered and all(info.is_published() for info in self._unsent):
                return
