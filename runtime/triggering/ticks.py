"""Triggers that the station makes itself: at a fixed rate, or at a fixed pitch of an encoder."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

from jetspect.errors import SourceError
from jetspect.runtime.triggering.settings import EncoderTrigger, TimerTrigger

log = logging.getLogger(__name__)
_AT_ONCE = 100  # pitches of one look, either way, beyond which the count is not believed
_DIGITS = 20  # of 64 bits with a sign


def run_timer(settings: TimerTrigger, trigger: Callable[[], object], stop: threading.Event) -> None:
    """Call ``trigger`` at a fixed rate until stopped. After a pause of the machine it goes on, it does not make up for it."""
    due = time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        trigger()
        due = max(due + settings.period_s, time.monotonic())


class Travel:
    """Counts pitches from the readings of a counter.

    Only new ground counts: material that moves back and forth again is not pictured twice. A leap is no ground: after a
    counter was reset it goes on from there.
    """

    def __init__(self, counts_per_pitch: float, wraps_at: int | None = None) -> None:
        self._counts_per_pitch = counts_per_pitch
        self._wraps_at = wraps_at
        self._last: int | None = None
        self._moved = 0
        self._done = 0

    def read(self, count: int) -> int | None:
        """Take a reading; return how many pitches have been completed since the one before, None where it leapt."""
        step = 0 if self._last is None else count - self._last
        if self._wraps_at is not None:
            half = self._wraps_at // 2
            step = (step + half) % self._wraps_at - half  # the shorter way round
        self._last = count
        if abs(step) > _AT_ONCE * abs(self._counts_per_pitch):
            return None
        self._moved += step
        reached = math.floor(self._moved / self._counts_per_pitch)
        new = max(0, reached - self._done)
        self._done += new
        return new


def run_encoder(settings: EncoderTrigger, trigger: Callable[[float], object], stop: threading.Event) -> None:
    """Call ``trigger`` at each pitch until stopped, with the seconds since it was reached.

    A counter that cannot be read for a moment is tried again. What went by meanwhile is dated evenly: its place is no longer
    before the cameras, so a picture of now must not stand for it.
    """
    travel = Travel(settings.counts_per_mm * settings.pitch_mm, settings.wraps_at)
    told, read_at = False, time.monotonic()
    while not stop.wait(settings.poll_ms / 1e3):
        try:
            new = travel.read(read_count(settings.count_file))
        except SourceError as error:
            if not told:
                log.error("%s; trying again, no trigger comes until then", error)
            told = True
            continue
        told, before, read_at = False, read_at, time.monotonic()
        if new is None:
            log.error(
                "%s moved by more than %d pitches within %g ms, which is not believed: going on from there; check the wiring "
                "and wraps_at",
                settings.count_file,
                _AT_ONCE,
                settings.poll_ms,
            )
            continue
        for number in range(1, new + 1):
            trigger((read_at - before) * (new - number) / new)


def read_count(path: Path) -> int:
    """Return the count of an encoder. Raises SourceError where there is none."""
    try:
        text = path.read_text("ascii", errors="replace").strip()
    except OSError as error:
        raise SourceError(
            f"encoder {path} cannot be read: {error.strerror or error}; check the driver and rights"
        ) from error
    try:
        if len(text) > _DIGITS:
            raise ValueError
        return int(text)
    except ValueError as error:
        raise SourceError(
            f"encoder {path} holds no whole number but {text[:40]!r}; name the file of the count"
        ) from error
