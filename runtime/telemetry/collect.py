"""Ask every part of a station for its numbers. The one place where a snapshot is made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from jetspect import __version__
from jetspect.device.monitor import DeviceMonitor
from jetspect.device.probe import hottest_c
from jetspect.errors import PublishError
from jetspect.runtime.frames import Source, utc_now
from jetspect.runtime.publishing.keeping import Keeper
from jetspect.runtime.publishing.message_base import StationAddress
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.slots_message import SlotsInfo
from jetspect.runtime.queueing import FrameQueue
from jetspect.runtime.results import ModelIdentity
from jetspect.runtime.telemetry.events import EventLog
from jetspect.runtime.telemetry.process import process_state
from jetspect.runtime.telemetry.progress import Patience, SourceWatch, Threads
from jetspect.runtime.telemetry.snapshot import BrokerState, OutboxState, Snapshot


@dataclass(frozen=True, eq=False)
class Observed:
    """The parts of a station that have numbers. ``publisher``, ``keeper`` and ``device`` may be None."""

    address: StationAddress
    model: ModelIdentity
    classes: tuple[str, ...]
    source: Source
    queue: FrameQueue
    outbox: Outbox
    publisher: MqttPublisher | None
    keeper: Keeper | None
    device: DeviceMonitor | None = None


class Telemetry:
    """All numbers of one station. ``events`` is where its threads tell what happens."""

    def __init__(
        self, parts: Observed, patience: Patience | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._parts, self._patience, self._clock = parts, patience or Patience(), clock
        self.events = EventLog(parts.classes, self._patience, clock)
        self._started = clock()
        self._threads, self._source = Threads(), SourceWatch()
        self._outbox = OutboxState()
        self.model: Callable[[], ModelIdentity] = lambda: parts.model
        self.slots: Callable[[], SlotsInfo | None] = lambda: None
        self._lock = threading.Lock()
        self.running = threading.Event()
        if parts.publisher is not None:
            parts.publisher.on_acknowledged = self.events.acknowledged

    def started(self, threads: Iterable[threading.Thread]) -> None:
        """The station runs, with these threads."""
        self._started = self._clock()
        self._threads.watch(threads)
        self.running.set()

    def snapshot(self) -> Snapshot:
        """Return every number as it is now. An outbox that cannot be read keeps the numbers it had, with an alarm."""
        parts = self._parts
        alarms = parts.keeper.alarms() if parts.keeper is not None else ()
        alarms += parts.publisher.alarms() if parts.publisher is not None else ()
        slots = self.slots()
        if slots is not None and slots.event in ("rolled_back", "kept"):
            alarms += (f"slot_{slots.event}: {slots.reason}",)
        try:
            self._outbox = self._read_outbox()
        except PublishError as error:
            self._outbox = replace(self._outbox, disk_bytes=parts.outbox.disk_bytes())
            alarms = (*alarms, f"outbox_unreadable: {error}")
        return Snapshot(
            station=parts.address,
            at=utc_now(),
            uptime_s=self._clock() - self._started,
            version=__version__,
            model=self.model(),
            events=self.events.read(parts.queue.dropped),
            source=parts.source.counters(),
            outbox=self._outbox,
            broker=self._broker(),
            process=process_state(),
            temperature_c=hottest_c(),
            alarms=alarms,
            not_ready=self.not_ready(),
            device=None if parts.device is None else parts.device.state(),
            slots=slots,
        )

    def not_ready(self) -> tuple[str, ...]:
        """Say why frames cannot be judged just now; empty where they can. Waits for no disk."""
        source = self._parts.source.counters()
        with self._lock:
            away_s = self._source.away_s(source, self._clock())
        found = [*self._threads.faults(), *self.events.faults()]
        if away_s > self._patience.stuck_s:
            why = source.fault or "check its power and cable; the log says more"
            found.append(f"source: not connected for {away_s:.0f} s: {why}")
        if self._parts.outbox.tight:
            found.append("disk_full: the outbox's disk is full; free space on it")
        return tuple(found)

    def stuck(self) -> tuple[str, ...]:
        """Say what keeps frames from being judged and a new start may cure. Waits for no disk.

        A camera that is away and a full disk are waited for: a new start brings neither back, and costs the frames in hand.
        """
        waited_for = {"source", "disk_full"}
        if not self._parts.source.counters().connected:
            waited_for.add("idle")
        if self._parts.outbox.tight:
            waited_for.add("outbox")
        return tuple(line for line in self.not_ready() if line.partition(":")[0] not in waited_for)

    def ended(self) -> bool:
        """Whether a thread of the station has ended, and the station is about to."""
        return self.running.is_set() and bool(self._threads.faults())

    def _read_outbox(self) -> OutboxState:
        outbox = self._parts.outbox
        return OutboxState(outbox.depth(), outbox.oldest_pending_age_s(), outbox.disk_bytes(), outbox.receipts())

    def _broker(self) -> BrokerState | None:
        publisher = self._parts.publisher
        if publisher is None:
            return None
        sent = publisher.counters
        return BrokerState(
            online=publisher.state == "online",
            published=sent.published,
            acknowledged=sent.acknowledged,
            refused=sent.refused,
            requests_ignored=publisher.requests_ignored,
            reconnects=sent.reconnects,
        )
