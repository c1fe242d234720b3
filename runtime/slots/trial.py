"""Is a new bundle worse than the one before? Counts, intervals and the rule; no clock, no disk.

Shares of few frames say little, so a rise counts only when chance does not explain it: when the lower end of an interval for
the difference of two proportions lies above what is allowed. The interval is the hybrid score interval (Newcombe, Statistics
in Medicine 17, 1998, pages 873-890, method 10), which holds for small samples and for shares at 0 and 1.
"""

from __future__ import annotations

import math
import statistics
import threading
from collections import deque

from jetspect.runtime.frames import LostCause
from jetspect.runtime.results import Inspection, Verdict
from jetspect.runtime.slots.settings import SlotSettings
from jetspect.runtime.slots.state import KEPT_FRAMES, Record

# One-sided 0.0005. Looked at some ten times in a probation, a bundle that is no worse is sent back once in some 200 times.
_Z = 3.29
_FIRST_LOOK = 16  # frames of a line come in batches: a few bad ones in a row are no sign yet
_LATENCY_FRAMES = 20
_LETTERS = {Verdict.OK: "O", Verdict.NOK: "N", Verdict.UNKNOWN: "U"}
ERROR = "E"


class Tally:
    """The last frames that a bundle judged. Thread-safe: one judges, another keeps the record."""

    def __init__(self, record: Record | None = None) -> None:
        self._lock = threading.Lock()
        self._outcomes: deque[str] = deque("" if record is None else record.outcomes, KEPT_FRAMES)
        self._latencies: deque[float] = deque(maxlen=KEPT_FRAMES)
        self._before = None if record is None else record.latency_ms
        self.frames = len(self._outcomes)
        self.errors = self._outcomes.count(ERROR)

    def add(self, inspection: Inspection, *, throttled: bool = False) -> bool:
        """Count a frame, without its latency where the device was slowed down.

        False where it says nothing of the bundle: it was lost before anything could judge it.
        """
        if inspection.lost_cause not in (None, LostCause.QUEUE_FULL):
            return False
        with self._lock:
            self._outcomes.append(_LETTERS[inspection.verdict])
            self.frames += 1
            if inspection.lost_cause is None and not throttled:
                self._latencies.append(inspection.timings.total_ms)
        return True

    def add_error(self) -> None:
        """Count an inspection that ended with an error."""
        with self._lock:
            self._outcomes.append(ERROR)
            self.frames += 1
            self.errors += 1

    def record(self) -> Record:
        with self._lock:
            latency = statistics.median(self._latencies) if self._latencies else self._before
            return Record(outcomes="".join(self._outcomes), latency_ms=latency)

    @property
    def latency_ms(self) -> float | None:
        """Median, None before it means something."""
        with self._lock:
            return statistics.median(self._latencies) if len(self._latencies) >= _LATENCY_FRAMES else None


def is_look(frames: int) -> bool:
    """Whether to judge after so many frames: at each doubling only, because every look is a chance to be wrong."""
    return frames >= _FIRST_LOOK and frames & (frames - 1) == 0


def judge_trial(new: Tally, old: Record, settings: SlotSettings) -> str:
    """Say why the new bundle has to go; empty where nothing speaks against it.

    The old record counts with its last frames, as many as the new one has.
    """
    mine = new.record().outcomes
    theirs = old.outcomes[-len(mine) :] if mine else ""
    before = theirs.count(ERROR)
    if new.errors > before + settings.max_errors:
        return (
            f"errors: {new.errors} of {new.frames} inspections ended with an error, {before} before; "
            f"{settings.max_errors} more are allowed"
        )
    if not mine or not theirs:
        return ""
    for letter, name, allowed in (
        ("N", "NOK", settings.max_nok_rise),
        ("U", "UNKNOWN", settings.max_unknown_rise),
    ):
        now, then = mine.count(letter), theirs.count(letter)
        if least_rise(now, len(mine), then, len(theirs)) > allowed:
            return (
                f"{name} rate: {now} of {len(mine)} frames ({100 * now / len(mine):.1f} %), {then} of {len(theirs)} before "
                f"({100 * then / len(theirs):.1f} %); a rise of {100 * allowed:g} points is allowed"
            )
    if new.latency_ms is not None and old.latency_ms and new.latency_ms > settings.max_latency_factor * old.latency_ms:
        return (
            f"latency: median {new.latency_ms:.1f} ms, {old.latency_ms:.1f} ms before; "
            f"{settings.max_latency_factor:g} times that is allowed"
        )
    return ""


def least_rise(now: int, of_now: int, then: int, of_then: int, z: float = _Z) -> float:
    """Return the lower end of the interval for now/of_now - then/of_then."""
    low, _ = _wilson(now, of_now, z)
    _, high = _wilson(then, of_then, z)
    p, q = now / of_now, then / of_then
    return p - q - math.hypot(p - low, high - q)


def _wilson(count: int, total: int, z: float) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, 1927)."""
    p, z2 = count / total, z * z
    middle = p + z2 / (2 * total)
    half = z * math.sqrt(p * (1 - p) / total + z2 / (4 * total * total))
    return (middle - half) / (1 + z2 / total), (middle + half) / (1 + z2 / total)
