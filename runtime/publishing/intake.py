"""Requests from outside, so many at once and so many a second: a flood of them must not hold up results."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

_WAITING = 64
_TELL_S = 10.0


@dataclass(frozen=True)
class Asked:
    """One request as it came; ``payload`` is cut where it is longer than allowed."""

    topic: str
    payload: bytes
    size: int


class Intake:
    """Holds requests until it is their turn; the oldest give way. For one thread.

    Parameters
    ----------
    max_bytes
        Of a payload; the rest of a longer one is not kept.
    per_s
        So many are let through each second, and as many at once after a quiet second.
    """

    def __init__(self, max_bytes: int, per_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._per_s, self._clock = max_bytes, per_s, clock
        self._waiting: deque[Asked] = deque()
        self._allowed, self._counted_at = max(1.0, per_s), clock()
        self._complain = Seldom(clock=clock)
        self.dropped = 0

    def put(self, topic: str, payload: bytes) -> None:
        self._waiting.append(Asked(topic, payload[: self._max_bytes], len(payload)))
        if len(self._waiting) > _WAITING:
            gone = self._waiting.popleft()
            self.dropped += 1
            self._complain(
                f"too many requests at once: one on {gone.topic} was dropped; commands.per_s is {self._per_s:g}"
            )

    def take(self) -> Asked | None:
        """Return the oldest request, or None where there is none or it is not its turn yet."""
        now = self._clock()
        self._allowed = min(max(1.0, self._per_s), self._allowed + (now - self._counted_at) * self._per_s)
        self._counted_at = now
        if not self._waiting or self._allowed < 1:
            return None
        self._allowed -= 1
        return self._waiting.popleft()


class Seldom:
    """Logs one of many warnings every ten seconds, and how many were left out."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = float("-inf")
        self._left_out = 0

    def __call__(self, message: str) -> None:
        now = self._clock()
        if now < self._next:
            self._left_out += 1
            return
        log.warning("%s%s", message, f" ({self._left_out} more like this before)" if self._left_out else "")
        self._next, self._left_out = now + _TELL_S, 0
