"""Does the line move? What stands still between two threads, and since when."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from jetspect.runtime.frames import SourceCounters


@dataclass(frozen=True)
class Patience:
    """How long something may take before a station counts as not ready.

    Attributes
    ----------
    stuck_s
        The source being away, and one frame at one place.
    idle_s
        Without a frame; None: a line may stand still for as long as it likes.
    """

    stuck_s: float = 30.0
    idle_s: float | None = None


class Backlog:
    """How many frames are between two places, and since when none has come out. The caller holds a lock."""

    def __init__(self) -> None:
        self.waiting = 0
        self._since = 0.0

    def enter(self, now: float) -> None:
        if not self.waiting:
            self._since = now
        self.waiting += 1

    def leave(self, now: float) -> None:
        self.waiting = max(0, self.waiting - 1)
        self._since = now

    def stuck_s(self, now: float) -> float:
        return now - self._since if self.waiting else 0.0


class SourceWatch:
    """Since when a source is away. It is looked at now and then, so the time counts from the first look that missed it."""

    def __init__(self) -> None:
        self._away_since: float | None = None

    def away_s(self, source: SourceCounters, now: float) -> float:
        if source.connected:
            self._away_since = None
        elif self._away_since is None:
            self._away_since = now
        return 0.0 if self._away_since is None else now - self._away_since


class Threads:
    """The threads of a station, as far as they were started."""

    def __init__(self) -> None:
        self._threads: tuple[threading.Thread, ...] = ()

    def watch(self, threads: Iterable[threading.Thread]) -> None:
        self._threads = tuple(threads)

    def faults(self) -> list[str]:
        """Say which have ended."""
        if not self._threads:
            return ["not_running: the station has not started"]
        ended = [thread.name for thread in self._threads if not thread.is_alive()]
        return [f"not_running: thread {name} has ended" for name in ended]
