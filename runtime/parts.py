"""From the verdicts of single frames to the verdict of the part that they show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from jetspect.runtime.frames import Shot
from jetspect.runtime.results import Verdict


@dataclass(frozen=True)
class ViewResult:
    """What one frame said of a part, and the result that tells it."""

    view: str
    number: int
    verdict: Verdict
    seq: int
    event_id: str
    defects: int


@dataclass(frozen=True)
class PartResult:
    """The verdict on a whole part: NOK where one frame is NOK, else UNKNOWN where one is UNKNOWN, else OK."""

    part_id: str
    verdict: Verdict
    triggered_at: datetime
    views: tuple[ViewResult, ...]


class PartMerger:
    """Collects the frames of parts. Frames of several parts may come mixed, and in any order."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[datetime, list[ViewResult]]] = {}

    def merged(self, shot: Shot, latest: ViewResult) -> PartResult | None:
        """Return the verdict on the part where this frame is its last one. Changes nothing: recording it may still fail."""
        first, before = self._open.get(shot.part_no, (shot.triggered_at, []))
        if len(before) + 1 < shot.expected:
            return None
        views = tuple(sorted((*before, latest), key=lambda v: (v.number, v.view)))
        return PartResult(shot.part_id, worst(v.verdict for v in views), min(first, shot.triggered_at), views)

    def note(self, shot: Shot, latest: ViewResult) -> None:
        """Remember a frame whose result is recorded."""
        first, before = self._open.pop(shot.part_no, (shot.triggered_at, []))
        if len(before) + 1 < shot.expected:
            self._open[shot.part_no] = (min(first, shot.triggered_at), [*before, latest])

    def __len__(self) -> int:
        """Return how many parts are begun and not complete."""
        return len(self._open)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """NOK counts before UNKNOWN: a defect that was seen is there, whatever else was not seen."""
    found = set(verdicts)
    return next((v for v in (Verdict.NOK, Verdict.UNKNOWN) if v in found), Verdict.OK)
