"""When a frame was captured, by a clock that nobody sets."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

_SET_S = 0.02  # clocks that move apart by more: the wall clock was set


class Dating:
    """Turns times of the wall clock into monotonic seconds.

    A frame of which it cannot be told how long ago it was captured, because the wall clock was set since then, gets no time: a
    guess could give it to another part.
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._offset, self._width = wall() - steady(), float("inf")
        self._since = float("-inf")
        self.look()

    def look(self) -> float:
        """Notice whether the wall clock was set; to be called often. Returns the monotonic time."""
        before, wall, now = self._steady(), self._wall(), self._steady()
        offset, width = wall - (before + now) / 2, now - before
        was_set = abs(offset - self._offset) > _SET_S + width
        if was_set:
            self._since = now
        if was_set or width <= self._width:  # a thread that was held up between two looks knows less
            self._offset, self._width = offset, width
        return now

    def monotonic(self, at: datetime) -> float | None:
        """Return when that was; None where that cannot be told."""
        now = self.look()
        captured = at.timestamp() - self._offset
        if captured < self._since or captured > now + _SET_S:
            return None
        return min(captured, now)
