"""A running station: source -> inspector -> outbox -> broker, each in its own thread.

Frames wait in a bounded queue. A result is in the outbox before the next frame of the same thread is taken, and leaves it
only when the broker has acknowledged it, so stopping or killing the process loses no result.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType

from jetspect.device.monitor import DeviceMonitor
from jetspect.errors import DeviceLostError, JetspectError, PublishError, SourceError
from jetspect.runtime.frames import Frame, LostCause, LostFrame, Source, lost
from jetspect.runtime.parts import PartMerger
from jetspect.runtime.publishing.evidence import EvidenceStore
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.keeping import Keeper
from jetspect.runtime.publishing.message_base import StationAddress
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.queueing import FrameQueue, Policy
from jetspect.runtime.recording import Listener, Recording
from jetspect.runtime.results import Inspection
from jetspect.runtime.slots.shadow import Shadow
from jetspect.runtime.slots.switching import SlotInspectors
from jetspect.runtime.telemetry.collect import Observed, Telemetry
from jetspect.runtime.telemetry.endpoint import MetricsEndpoint
from jetspect.runtime.telemetry.health import health_message
from jetspect.runtime.telemetry.progress import Patience
from jetspect.runtime.telemetry.settings import MetricsSettings
from jetspect.runtime.views import ViewInspectors

log = logging.getLogger(__name__)
_AWAY_S = 5.0


@dataclass(frozen=True, eq=False)
class Parts:
    """What a station is made of. ``publisher``, ``evidence`` and ``device`` may be None."""

    source: Source
    inspector: ViewInspectors | SlotInspectors
    outbox: Outbox
    publisher: MqttPublisher | None
    evidence: EvidenceStore | None
    address: StationAddress
    result_topic: str
    device: DeviceMonitor | None = None


class Station:
    """Runs until its source ends, :meth:`stop` is called or a part fails for good.

    Parameters
    ----------
    keeper
        Holds outbox and evidence within their caps.
    merger
        Where it knows parts already that were begun before the start.
    metrics
        Serve the numbers of :attr:`telemetry` over HTTP, from now to :meth:`close`.
    shadow
        Sees each frame after its result is kept, while no other one waits.
    on_result
        Called in the recording thread after the result is in the outbox.

    Raises
    ------
    JetspectError
        From :meth:`run`, when a part fails in a way that stops the line: the source cannot go on, the GPU is lost, or on
        shutdown the outbox still cannot be written (a result that cannot be kept must not pass silently).
    """

    def __init__(
        self,
        parts: Parts,
        *,
        queue_size: int = 2,
        policy: Policy = "block",
        health_s: float = 10.0,
        drain_s: float = 30.0,
        keeper: Keeper | None = None,
        merger: PartMerger | None = None,
        metrics: MetricsSettings | None = None,
        shadow: Shadow | None = None,
        on_result: Listener | None = None,
    ) -> None:
        self._parts = parts
        self._frames = FrameQueue(queue_size, policy)
        self._results: queue.Queue[tuple[Frame | LostFrame, Inspection] | None] = queue.Queue(maxsize=2)
        self._health_s = health_s
        self._drain_s = drain_s
        self._keeper = keeper
        self._shadow = shadow
        self._failure: BaseException | None = None
        self._failed = threading.Event()
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        inspector = parts.inspector
        self.telemetry = Telemetry(
            Observed(
                address=parts.address,
                model=inspector.model,
                classes=inspector.classes,
                source=parts.source,
                queue=self._frames,
                outbox=parts.outbox,
                publisher=parts.publisher,
                keeper=keeper,
                device=parts.device,
            ),
            Patience() if metrics is None else Patience(metrics.stuck_s, metrics.idle_s),
        )
        if isinstance(inspector, SlotInspectors):
            self.telemetry.model, self.telemetry.slots = lambda: inspector.model, inspector.info
            inspector.on_change = self._switched
            if parts.device is not None:
                inspector.throttled_since = parts.device.throttled_since
        self.counters = self.telemetry.events.counters
        self._recording = Recording(
            parts.outbox,
            parts.address,
            parts.result_topic,
            self.telemetry.events,
            self._stopping,
            evidence=parts.evidence,
            keeper=keeper,
            merger=merger,
            on_result=on_result,
        )
        self.metrics = None if metrics is None else MetricsEndpoint(metrics, self.telemetry)

    def run(self) -> int:
        """Run to the end. Returns the number of results that the broker has not acknowledged yet; they stay queued."""
        parts = self._parts
        if parts.publisher is not None:
            parts.publisher.start()
        threads = [
            threading.Thread(target=self._guard, args=(work,), name=f"jetspect-{name}", daemon=True)
            for name, work in (("source", self._feed), ("inspect", self._inspect), ("record", self._record))
        ]
        for thread in threads:
            thread.start()
        self.telemetry.started(threads)
        beat = time.monotonic()
        while any(t.is_alive() for t in threads):
            threads[-1].join(timeout=0.1)
            if self._failed.is_set() and not self._stopping.is_set():
                self.stop()
            if time.monotonic() - beat >= self._health_s:
                beat = time.monotonic()
                self._beat()
        if parts.publisher is not None:
            self._beat()
            self._deliver(parts.publisher)
            parts.publisher.close()
        if self._failure is not None:
            raise self._failure
        return parts.outbox.depth()

    def check(self) -> None:
        """Raise SourceError where the camera is not there now. :meth:`run` would wait for it."""
        fault = self._parts.source.counters().fault
        if fault:
            raise SourceError(fault)

    def _deliver(self, publisher: MqttPublisher) -> None:
        """Give the broker time for what is left; not where it has been away for a while, and not after a second stop."""
        deadline, give_up = time.monotonic() + self._drain_s, time.monotonic() + _AWAY_S
        while publisher.flush(0.1) and time.monotonic() < deadline and not self._hurry.is_set():
            if publisher.state == "online":
                give_up = time.monotonic() + _AWAY_S
            elif time.monotonic() > give_up:
                return

    def stop(self) -> None:
        """Take no more frames; those already captured are still inspected and recorded. Callable from any thread.

        A second call also ends the wait for the broker; what it has not acknowledged stays in the outbox.
        """
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()
        self._parts.source.stop()

    def close(self) -> None:
        with ExitStack() as each:  # in this order, and each whatever the others do
            each.callback(self._parts.outbox.close)
            each.callback(self._parts.inspector.close)
            if self._shadow is not None:
                each.callback(self._shadow.close)
            each.callback(self._parts.source.close)
            if self._parts.device is not None:
                each.callback(self._parts.device.close)
            if self.metrics is not None:
                each.callback(self.metrics.close)

    def __enter__(self) -> Station:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def health(self) -> HealthMessage:
        """Return the numbers as they are published."""
        return health_message(self.telemetry.snapshot())

    def _switched(self) -> None:
        """Another bundle judges, or there is news of it."""
        if self._parts.publisher is not None:
            self._parts.publisher.announce()

    def _beat(self) -> None:
        # Housekeeping may fail; when a result cannot be kept, the recording thread stops the line.
        for work in (self._tidy, self._tell_health):
            try:
                work()
            except PublishError as error:
                log.error("%s", error)

    def _tidy(self) -> None:
        if self._keeper is not None:
            self._keeper.tidy()

    def _tell_health(self) -> None:
        if self._parts.publisher is not None:
            self._parts.publisher.health(self.health())

    def _feed(self) -> None:
        for item in self._parts.source:
            self.telemetry.events.frame(item)
            if not self._frames.put(item):
                break
        self._frames.close()

    def _inspect(self) -> None:
        while (item := self._frames.get()) is not None:
            gone: DeviceLostError | None = None
            began = time.monotonic()
            try:
                inspection = self._parts.inspector.inspect(item)
            except Exception as error:
                # One frame that cannot be inspected must not stop the line, nor pass as inspected.
                known = isinstance(error, JetspectError)
                gone = error if isinstance(error, DeviceLostError) else None
                reason = str(error) if known else f"inspection failed: {type(error).__name__}: {error}"
                extra = {"frame_id": item.frame_id, "part_id": item.part_id}
                log.error("frame %s: %s", item.frame_id, reason, exc_info=not known, extra=extra)
                inspection = self._parts.inspector.inspect(lost(item, reason, LostCause.INSPECTION_FAILED))
            if self._parts.device is not None and (slowed := self._parts.device.throttled_since(began)):
                inspection = replace(inspection, throttled=slowed)
            self.telemetry.events.inspected(inspection)
            self._results.put((item, inspection))
            if gone is not None:
                raise gone  # what runs the station starts it again; nothing else brings the device back
        self._results.put(None)

    def _record(self) -> None:
        while (entry := self._results.get()) is not None:
            item, inspection = entry
            message = self._recording.keep(item, inspection)
            if self._parts.publisher is not None:
                self._parts.publisher.notify()
            if self._shadow is not None:
                self._shadow.offer(item, inspection, message, busy=len(self._frames) > 0)
            self._recording.tell(item, inspection, message)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # handed to run(), which raises it in the main thread
            if self._failure is None:
                self._failure = error
            self._failed.set()
            self._frames.close()
            self._drain(work)

    def _drain(self, work: Callable[[], None]) -> None:
        """Unblock the neighbours of a thread that failed."""
        if work == self._inspect:
            self._results.put(None)
        elif work == self._record:
            while self._results.get() is not None:
                pass
