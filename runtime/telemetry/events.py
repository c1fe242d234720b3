"""What happens in a station, as its threads tell it: counted, timed, and remembered as long as something stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from jetspect.runtime.frames import Frame, LostCause, LostFrame
from jetspect.runtime.results import Inspection, Verdict
from jetspect.runtime.telemetry.progress import Backlog, Patience
from jetspect.runtime.telemetry.snapshot import Events
from jetspect.runtime.telemetry.stages import StageTimes

_MOST_AWAITED = 10_000  # results whose PUBACK is timed; a broker that is away for days must not fill the memory
_MOST_UNRECORDED = 1000


@dataclass
class Counters:
    """What went through a station since its start. Written by one thread each."""

    frames: int = 0
    inspected: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    lost: dict[LostCause, int] = field(default_factory=lambda: dict.fromkeys(LostCause, 0))
    defects: dict[str, int] = field(default_factory=dict)
    parts: dict[Verdict, int] = field(default_factory=dict)
    evidence_failed: int = 0


class EventLog:
    """The station's threads call :meth:`frame`, :meth:`inspected`, :meth:`recorded`; anyone may read. Microseconds per frame.

    Parameters
    ----------
    classes
        Of the model, so that their counters begin at zero.
    clock
        Seconds that only grow.
    """

    def __init__(self, classes: Sequence[str], patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self.counters = Counters(defects=dict.fromkeys(classes, 0))
        self._patience, self._clock = patience, clock
        self._lock = threading.Lock()
        self._times = StageTimes()
        self._inspecting, self._recording = Backlog(), Backlog()
        self._began = clock()
        self._last_frame: float | None = None
        self._last_result: float | None = None
        self._verdict_at: dict[int, float] = {}  # id of an inspection on its way to the outbox -> time of its verdict
        self._awaited: dict[int, float] = {}  # seq -> the same, until its PUBACK
        self._early: dict[int, float] = {}  # seq -> time of a PUBACK that overtook the news of its recording
        self._not_recorded = ""

    def frame(self, item: Frame | LostFrame) -> None:
        """The source delivered something."""
        now = self._clock()
        with self._lock:
            self.counters.frames += 1
            if isinstance(item, LostFrame):
                self.counters.lost[item.cause] += 1
            self._inspecting.enter(now)
            self._last_frame = now

    def inspected(self, inspection: Inspection) -> None:
        """A verdict stands."""
        now, counters = self._clock(), self.counters
        with self._lock:
            counters.inspected += 1
            counters.verdicts[inspection.verdict] += 1
            if inspection.lost_cause is LostCause.INSPECTION_FAILED:  # the others were counted where they were lost
                counters.lost[LostCause.INSPECTION_FAILED] += 1
            for defect in inspection.defects:
                counters.defects[defect.class_name] = counters.defects.get(defect.class_name, 0) + 1
            self._times.add_timings(inspection.timings)
            self._inspecting.leave(now)
            self._recording.enter(now)
            _remember(self._verdict_at, id(inspection), now, _MOST_UNRECORDED)

    def recorded(self, inspection: Inspection, seq: int, record_ms: float) -> None:
        """A result is in the outbox."""
        now = self._clock()
        with self._lock:
            self._times.add("record", record_ms)
            self._recording.leave(now)
            self._last_result, self._not_recorded = now, ""
            since = self._verdict_at.pop(id(inspection), now)
            if (acked := self._early.pop(seq, None)) is not None:
                self._times.add("deliver", 1e3 * (acked - since))
            else:
                _remember(self._awaited, seq, since, _MOST_AWAITED)

    def not_recorded(self, reason: str) -> None:
        """The outbox took a result not; the line waits with it."""
        self._not_recorded = reason

    def acknowledged(self, seqs: Iterable[int]) -> None:
        """The broker has these results. Those of an earlier run, and repetitions, are not timed."""
        now = self._clock()
        with self._lock:
            for seq in seqs:
                if (since := self._awaited.pop(seq, None)) is not None:
                    self._times.add("deliver", 1e3 * (now - since))
                else:
                    _remember(self._early, seq, now, _MOST_UNRECORDED)

    def read(self, queue_dropped: int) -> Events:
        """Return everything so far; what the queue dropped it counts itself."""
        counters = self.counters
        with self._lock:
            now = self._clock()
            return Events(
                frames=counters.frames,
                inspected=counters.inspected,
                verdicts=dict(counters.verdicts),
                lost={**counters.lost, LostCause.QUEUE_FULL: queue_dropped},
                defects=dict(counters.defects),
                parts=dict(counters.parts),
                evidence_failed=counters.evidence_failed,
                stages=self._times.histograms(),
                waiting=self._inspecting.waiting,
                last_frame_s=None if self._last_frame is None else now - self._last_frame,
                last_result_s=None if self._last_result is None else now - self._last_result,
            )

    def faults(self) -> list[str]:
        """Say where the line stands still against its will."""
        most, idle = self._patience.stuck_s, self._patience.idle_s
        with self._lock:
            now = self._clock()
            inspecting, recording = self._inspecting.stuck_s(now), self._recording.stuck_s(now)
            quiet = now - (self._began if self._last_frame is None else self._last_frame)
        found = []
        if self._not_recorded:
            found.append(f"outbox: {self._not_recorded}")
        elif recording > most:
            found.append(f"outbox: no result was recorded for {recording:.0f} s although one waits; check its disk")
        if inspecting > most and not found:  # a line that waits for the outbox inspects nothing either
            found.append(f"inspection: no frame was inspected for {inspecting:.0f} s although one waits")
        if idle is not None and quiet > idle:
            found.append(f"idle: no frame came for {quiet:.0f} s, metrics.idle_s allows {idle:g}; check the trigger")
        return found


def _remember(known: dict[int, float], key: int, at: float, most: int) -> None:
    known[key] = at
    if len(known) > most:
        del known[next(iter(known))]
