"""Arrivals that do not wait for answers, and what became of each: latencies count from when an arrival was due.

A load that waits for the answer before it sends on hides how long everybody else would have waited meanwhile (coordinated
omission). Here the n-th arrival is due at n / rate whatever happened before, and one that is sent late counts from when it
was due.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from jetspect.errors import PublishError
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.results import Inspection

_DRAIN_S = 60.0


@dataclass(frozen=True)
class Arrivals:
    """One run at one rate.

    Attributes
    ----------
    latency_ms
        From due to the last PUBACK of the part, of every part with a verdict, in their order.
    recorded_ms
        From due until its last result was in the outbox.
    lost
        Parts without a verdict, by cause.
    late_ms
        The longest that an arrival was sent after it was due: how well this machine kept the rate.
    ended_early
        The run was ended at the first loss.
    """

    rate: float
    seconds: float
    sent: int
    latency_ms: tuple[float, ...]
    recorded_ms: tuple[float, ...]
    lost: dict[str, int]
    late_ms: float
    ended_early: bool
    unknown: int = 0
    """Results that are UNKNOWN though the frame was there."""

    @property
    def dropped(self) -> int:
        return sum(self.lost.values())


@dataclass
class _Part:
    due: float
    recorded: float = 0.0
    acked: float = 0.0
    open: set[int] = field(default_factory=set)
    seen: int = 0
    cause: str = ""


class OpenLoop:
    """Sends parts to a station and keeps account of them.

    Parameters
    ----------
    views
        Results that make a part.
    """

    def __init__(self, views: int) -> None:
        self._views = views
        self._parts: dict[str, _Part] = {}
        self._by_seq: dict[int, _Part] = {}
        self._early: dict[int, float] = {}  # acknowledged before the listener was told
        self._left = 0
        self._changed = threading.Condition()
        self._lost = threading.Event()
        self._dead = threading.Event()
        self._number = 0
        self.reasons: Counter[str] = Counter()
        """Why results of the last run were UNKNOWN, though their frames were there."""

    def run(
        self, trigger: Callable[[str], object], rate: float, seconds: float, *, stop_when_lost: bool = False
    ) -> Arrivals:
        """Send parts at a rate for so long, then wait until each has its answer.

        Raises
        ------
        PublishError
            The answers do not all come, or the station ended.
        """
        with self._changed:
            self._parts.clear()
            self._by_seq.clear()
            self._early.clear()
            self._left = 0
            self._lost.clear()
            self.reasons.clear()
        begin, late, sent, early = time.monotonic() + 0.05, 0.0, 0, False
        while (due := begin + sent / rate) < begin + seconds:
            until = self._lost if stop_when_lost else self._dead
            if until.wait(max(0.0, due - time.monotonic())) or self._dead.is_set():
                early = True
                break
            self._number += 1
            name = f"L{self._number:08d}"
            with self._changed:
                self._parts[name] = _Part(due)
                self._left += 1
            late = max(late, time.monotonic() - due)
            trigger(name)
            sent += 1
        self._wait()
        parts = list(self._parts.values())
        good = [p for p in parts if not p.cause]
        return Arrivals(
            rate=rate,
            seconds=seconds,
            sent=sent,
            latency_ms=tuple(1e3 * (p.acked - p.due) for p in good),
            # The news of it may come after that of the broker, which has only what was in the outbox.
            recorded_ms=tuple(1e3 * (min(p.recorded, p.acked) - p.due) for p in good),
            lost=dict(Counter(p.cause for p in parts if p.cause)),
            late_ms=1e3 * late,
            ended_early=early,
            unknown=sum(self.reasons.values()),
        )

    def ended(self) -> None:
        """Say that the station is no more."""
        self._dead.set()
        self._lost.set()
        with self._changed:
            self._changed.notify_all()

    def on_result(self, item: Frame | LostFrame, inspection: Inspection, message: ResultMessage) -> None:
        """Take a result that was recorded."""
        now = time.monotonic()
        with self._changed:
            part = self._parts.get(item.part_id or "")
            if part is None:
                return
            part.recorded, part.seen = now, part.seen + 1
            if isinstance(item, LostFrame):
                part.cause = part.cause or item.cause.value
                self._lost.set()
            elif inspection.verdict.value == "UNKNOWN":
                self.reasons["; ".join(inspection.reasons)] += 1
            at = self._early.pop(message.seq, None)
            if at is None:
                part.open.add(message.seq)
                self._by_seq[message.seq] = part
            else:
                part.acked = max(part.acked, at)
            self._close(part)

    def on_acknowledged(self, seqs: list[int]) -> None:
        """Take the news that the broker has results."""
        now = time.monotonic()
        with self._changed:
            for seq in seqs:
                part = self._by_seq.pop(seq, None)
                if part is None:
                    self._early.setdefault(seq, now)
                else:
                    part.open.discard(seq)
                    part.acked = now
                    self._close(part)

    def _close(self, part: _Part) -> None:
        if part.seen == self._views and not part.open:
            part.seen += 1  # once
            self._left -= 1
            self._changed.notify_all()

    def _wait(self) -> None:
        with self._changed:
            done = self._changed.wait_for(lambda: not self._left or self._dead.is_set(), _DRAIN_S)
            if self._left:
                why = "the station ended" if self._dead.is_set() else f"not within {_DRAIN_S:.0f} s" if not done else ""
                raise PublishError(f"{self._left} results were not acknowledged: {why}; see its log and the broker's")
