"""Which results of which station are here: the highest, what is missing below it, and what will never come."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime

Span = tuple[int, int]
"""First and last ``seq``, both included."""

_MAX_HOLES = 1000  # more are no gaps but a station that counts otherwise


@dataclass(frozen=True)
class Noted:
    """What one result changed.

    Attributes
    ----------
    opened
        What is missing from now on.
    closed
        A gap that this result filled up.
    given_up
        Gaps that are no longer waited for, because there are too many or the station counts anew.
    restarted
        The station counts anew: its outbox was replaced by an empty one.
    """

    opened: Span | None = None
    closed: Span | None = None
    given_up: tuple[Span, ...] = ()
    restarted: bool = False


@dataclass
class _Gap:
    """A gap; ``left`` of its results are still missing."""

    first: int
    last: int
    left: int
    told: bool = True


@dataclass
class StationLedger:
    """The count of one station. It begins with the first result noted, or at ``first`` where that is given."""

    first: int = 0
    last: int = 0
    holes: list[Span] = field(default_factory=list)
    gone: int = 0
    """Results that will never come."""
    newest_at: datetime | None = None
    """When the result with the highest ``seq`` was inspected."""
    outbox_id: str | None = None
    """Which count of the station this is; None where it is too old to say."""
    _gaps: list[_Gap] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gaps = [_Gap(a, b, b - a + 1) for a, b in self.holes]

    @property
    def up_to(self) -> int:
        """The highest ``seq`` with nothing missing at or below it; what is gone for good is not waited for."""
        return self.holes[0][0] - 1 if self.holes else self.last

    @property
    def missing(self) -> int:
        return sum(b - a + 1 for a, b in self.holes)

    def note(self, seq: int, at: datetime, outbox_id: str | None = None) -> Noted:
        """Count a result in that was inspected at a time."""
        restarted = self._counts_anew(seq, at, outbox_id)
        self.outbox_id = outbox_id or self.outbox_id
        given_up = self.give_up(self.first, self.last) if restarted else ()
        if restarted or not self.first:
            self.first, self.last = seq, seq - 1
        if seq > self.last:
            opened = self.expect(seq - 1)
            self.last, self.newest_at = seq, at
            return Noted(opened, given_up=given_up or self._shorten(), restarted=restarted)
        return Noted(closed=self._fill(seq))

    def expect(self, seq: int, *, told: bool = True) -> Span | None:
        """The station has given this number: what lies between is missing. Not ``told``: it may be on its way."""
        if not self.first or seq <= self.last:
            return None
        span = (self.last + 1, seq)
        self.holes.append(span)
        self._gaps.append(_Gap(*span, seq - self.last, told))
        self.last = seq
        return span

    def give_up(self, first: int, last: int) -> tuple[Span, ...]:
        """Wait no longer for what is missing in a range; return what that is."""
        cut = [(max(a, first), min(b, last)) for a, b in self.holes if a <= last and b >= first]
        kept: list[Span] = []
        for a, b in self.holes:
            kept += [(x, y) for x, y in ((a, min(b, first - 1)), (max(a, last + 1), b)) if x <= y]
        self.holes = kept
        for a, b in cut:
            self.gone += b - a + 1
            for gap in self._gaps:
                gap.left -= max(0, min(b, gap.last) - max(a, gap.first) + 1)
        self._gaps = [gap for gap in self._gaps if gap.left > 0]
        return tuple(cut)

    def _counts_anew(self, seq: int, at: datetime, outbox_id: str | None) -> bool:
        if self.outbox_id is not None:  # a result without one was kept before the station knew how to say it
            return outbox_id not in (None, self.outbox_id)
        # A result made after the newest one has a number that was given before: nobody repeats what is not yet made.
        counted = bool(self.first) and self.first <= seq <= self.last and self._hole(seq) is None
        return counted and self.newest_at is not None and at > self.newest_at

    def _hole(self, seq: int) -> int | None:
        place = bisect_right(self.holes, seq, key=lambda span: span[0]) - 1
        return place if place >= 0 and self.holes[place][1] >= seq else None

    def _fill(self, seq: int) -> Span | None:
        place = self._hole(seq)
        if place is None:
            return None
        a, b = self.holes[place]
        self.holes[place : place + 1] = [(x, y) for x, y in ((a, seq - 1), (seq + 1, b)) if x <= y]
        gap = next(g for g in self._gaps if g.first <= seq <= g.last)
        gap.left -= 1
        if gap.left:
            return None
        self._gaps.remove(gap)
        return (gap.first, gap.last) if gap.told else None

    def _shorten(self) -> tuple[Span, ...]:
        if len(self.holes) <= _MAX_HOLES:
            return ()
        return self.give_up(*self.holes[0])


def spell(spans: list[Span] | tuple[Span, ...], most: int = 10) -> str:
    """Write spans for people: ``3, 7 to 9``."""
    words = [str(a) if a == b else f"{a} to {b}" for a, b in spans[:most]]
    return ", ".join(words) + (f" and {len(spans) - most} more ranges" if len(spans) > most else "")
