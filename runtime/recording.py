"""How a station keeps a result: pictures, the verdict on its part, and the message in the outbox."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from jetspect.errors import PublishError
from jetspect.runtime.frames import Frame, LostFrame, Shot
from jetspect.runtime.parts import PartMerger, PartResult, ViewResult
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.evidence import EvidenceStore
from jetspect.runtime.publishing.keeping import Keeper
from jetspect.runtime.publishing.message_base import StationAddress
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.result_message import EvidenceRef, ResultMessage
from jetspect.runtime.results import Inspection
from jetspect.runtime.telemetry.events import EventLog

log = logging.getLogger(__name__)
_RETRY_S = 0.5
Listener = Callable[[Frame | LostFrame, Inspection, ResultMessage], None]


class Recording:
    """Keeps results, one after the other, in one thread.

    Parameters
    ----------
    stopping
        Set when the station ends: a result that still cannot be kept is then an error.
    on_result
        Called by :meth:`tell`.
    """

    def __init__(
        self,
        outbox: Outbox,
        address: StationAddress,
        topic: str,
        events: EventLog,
        stopping: threading.Event,
        *,
        evidence: EvidenceStore | None = None,
        keeper: Keeper | None = None,
        merger: PartMerger | None = None,
        on_result: Listener | None = None,
    ) -> None:
        self._outbox, self._address, self._topic = outbox, address, topic
        self._events, self._stopping = events, stopping
        self._evidence, self._keeper = evidence, keeper
        self._merger = merger or PartMerger()
        self._on_result = on_result

    def keep(self, item: Frame | LostFrame, inspection: Inspection) -> ResultMessage:
        """Put a result into the outbox, and wait with it in hand while that cannot be written.

        Raises
        ------
        PublishError
            It cannot be kept, and the station ends.
        """
        return self._commit(inspection, self._keep_evidence(item, inspection))

    def tell(self, item: Frame | LostFrame, inspection: Inspection, message: ResultMessage) -> None:
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
            count = self._outbox.outbox_id
            built.append(result_message(inspection, self._address, seq, event_id, evidence, part, count))
            return built[-1].payload()

        warned = False
        while True:
            began = time.monotonic()
            try:
                seq, _ = self._outbox.commit(self._topic, build)
                self._events.recorded(inspection, seq, 1e3 * (time.monotonic() - began))
                self._note_part(inspection, built[-1])
                return built[-1]
            except PublishError as error:
                self._events.not_recorded(str(error))
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
            parts = self._events.counters.parts
            parts[message.part.verdict] = parts.get(message.part.verdict, 0) + 1

    def _keep_evidence(self, item: Frame | LostFrame, inspection: Inspection) -> tuple[EvidenceRef, ...]:
        if self._evidence is None or isinstance(item, LostFrame):
            return ()
        try:
            return self._evidence.store(item.image, inspection)
        except PublishError as error:
            # Pictures help, the verdict counts: a full disk for pictures must not stop the line.
            if not self._events.counters.evidence_failed:
                log.error("%s; going on without pictures", error)
            self._events.counters.evidence_failed += 1
            return ()


def _view_result(inspection: Inspection, shot: Shot, seq: int, event_id: str) -> ViewResult:
    found = len(inspection.defects) + inspection.defects_truncated
    return ViewResult(shot.view, shot.number, inspection.verdict, seq, event_id, found)
