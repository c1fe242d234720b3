"""The parts in front of the cameras: their names, and how many of their shots have been asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jetspect.runtime.frames import Shot


@dataclass(frozen=True)
class Opened:
    """What one trigger asks for: a shot of every camera, and shots of the part before that nobody asked for any more."""

    shots: tuple[Shot, ...]
    given_up: tuple[Shot, ...] = ()


@dataclass
class _Part:
    part_id: str
    part_no: int
    taken: int
    last: float
    triggered_at: datetime


class PartBook:
    """Numbers parts and shots.

    Parameters
    ----------
    prefix
        Begins the names of parts that come without one; must differ from start to start.
    """

    def __init__(self, views: Sequence[str], *, shots: int, timeout_s: float, prefix: str) -> None:
        self._views, self._shots, self._timeout_s, self._prefix = tuple(views), shots, timeout_s, prefix
        self._count = 0
        self._open: _Part | None = None

    def next(self, part_id: str | None, triggered_at: datetime, now: float) -> Opened:
        """Take one trigger: the next shot of the open part, or the first of a new one.

        Another ``part_id`` than that of the open part closes it; its missing shots are given up.
        """
        given_up: tuple[Shot, ...] = ()
        if self._open is not None and part_id not in (None, self._open.part_id):
            given_up = self.close()
        if self._open is None:
            self._count += 1
            name = part_id if part_id is not None else f"{self._prefix}-{self._count:06d}"
            self._open = _Part(name, self._count, 0, now, triggered_at)
        part = self._open
        part.taken, part.last = part.taken + 1, now
        shots = self._of(part, part.taken, triggered_at)
        if part.taken == self._shots:
            self._open = None
        return Opened(shots, given_up)

    def expire(self, now: float) -> tuple[Shot, ...]:
        """Close a part whose next trigger does not come; return the shots that are given up."""
        if self._open is None or now <= self._open.last + self._timeout_s:
            return ()
        return self.close()

    def next_s(self) -> float | None:
        """Return when :meth:`expire` may have something to do."""
        return None if self._open is None else self._open.last + self._timeout_s

    def close(self) -> tuple[Shot, ...]:
        """Close the open part; return the shots that are given up."""
        part, self._open = self._open, None
        if part is None:
            return ()
        missing = range(part.taken + 1, self._shots + 1)
        return tuple(shot for number in missing for shot in self._of(part, number, part.triggered_at))

    def _of(self, part: _Part, number: int, at: datetime) -> tuple[Shot, ...]:
        expected = self._shots * len(self._views)
        return tuple(Shot(part.part_id, part.part_no, view, number, expected, at) for view in self._views)
