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
from jetspect.runtime.frames import Frame, LostCause, LostFrame, Shot, Source, lost
from jetspect.runtime.parts import PartMerger, PartResult, ViewResult
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.evidence import EvidenceStore
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.keeping import Keeper
from jetspect.runtime.publishing.message_base import StationAddress
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.result_message import EvidenceRef, ResultMessage
from jetspect.runtime.queueing import FrameQueue, Policy
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
_RETRY_S = 0.5
_AWAY_S = 5.0
Listener = Callable[[Frame | LostFrame, Inspection, ResultMessage], None]


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
        self._on_result = on_result
        self._merger = merger or PartMerger()
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
        self.counters = self.telemetry.events.counters
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
            message = self._commit(inspection, self._keep_evidence(item, inspection))
            if self._parts.publisher is not None:
                self._parts.publisher.notify()
            if self._shadow is not None:
                self._shadow.offer(item, inspection, message, busy=len(self._frames) > 0)
            self._tell(item, inspection, message)

    def _tell(self, item: Frame | LostFrame, inspection: Inspection, message: ResultMessage) -> None:
        if self._on_result is None:
            return
        try:
            self._on_result(item, inspection, message)
        except Exception:
            # Recording must not depend on who listens: a closed pipe on stdout must not cost a result.
            self._on_result = None
            log.exception("the listener to results failed and is not called again; recording goes on")

    def _commit(self, inspection: Inspection, evidence: tuple[EvidenceRef, ...]) -> ResultMessage:
        built: list[ResultMessage] = []

        def build(seq: int, event_id: str) -> bytes:
            part = self._merged(inspection, seq, event_id)
            built.append(result_message(inspection, self._parts.address, seq, event_id, evidence, part))
            return built[-1].payload()

        warned = False
        while True:
            began = time.monotonic()
            try:
                seq, _ = self._parts.outbox.commit(self._parts.result_topic, build)
                self.telemetry.events.recorded(inspection, seq, 1e3 * (time.monotonic() - began))
                self._note_part(inspection, built[-1])
                return built[-1]
            except PublishError as error:
                self.telemetry.events.not_recorded(str(error))
                # The line waits with this result in hand until it can be kept, for example when the disk has room again.
                if self._stopping.wait(_RETRY_S if warned else 0):
                    raise
                if self._keeper is not None:
                    self._keeper.relieve()
                if not warned:
                    frame = inspection.frame_id
                    extra = {"frame_id": frame, "part_id": inspection.part_id}
                    log.error("%s; the line waits until frame %s can be recorded", error, frame, extra=extra)
                warned = True

    def _merged(self, inspection: Inspection, seq: int, event_id: str) -> PartResult | None:
        """Return the verdict on the part that this frame completes."""
        shot = inspection.shot
        return None if shot is None else self._merger.merged(shot, _view_result(inspection, shot, seq, event_id))

    def _note_part(self, inspection: Inspection, message: ResultMessage) -> None:
        shot = inspection.shot
        if shot is not None:
            self._merger.note(shot, _view_result(inspection, shot, message.seq, message.event_id))
        if message.part is not None:
            parts = self.counters.parts
            parts[message.part.verdict] = parts.get(message.part.verdict, 0) + 1

    def _keep_evidence(self, item: Frame | LostFrame, inspection: Inspection) -> tuple[EvidenceRef, ...]:
        if self._parts.evidence is None or isinstance(item, LostFrame):
            return ()
        try:
            return self._parts.evidence.store(item.image, inspection)
        except PublishError as error:
            # Pictures help, the verdict counts: a full disk for pictures must not stop the line.
            if not self.counters.evidence_failed:
                log.error("%s; going on without pictures", error)
            self.counters.evidence_failed += 1
            return ()

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


def _view_result(inspection: Inspection, shot: Shot, seq: int, event_id: str) -> ViewResult:
    found = len(inspection.defects) + inspection.defects_truncated
    return ViewResult(shot.view, shot.number, inspection.verdict, seq, event_id, found)
