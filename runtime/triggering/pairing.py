"""Which frame belongs to which trigger. Nothing here waits or reads a clock: times are monotonic seconds from outside."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from dataclasses import dataclass

from jetspect.runtime.frames import Frame, LostCause, LostFrame, Shot

HELD = 4  # frames that may wait for the trigger that names them


@dataclass(frozen=True)
class Window:
    """When the frame of a trigger may be captured, in seconds after it.

    ``apart``: two triggers whose windows touch cannot be told apart, as the camera takes one frame for each. A camera that runs
    freely gives each its own frame. ``fired``: the window opens when the camera is being triggered, and no frame counts before.
    """

    begin_s: float
    end_s: float
    transfer_s: float
    apart: bool
    fired: bool = False


@dataclass
class _Waiting:
    shot: Shot
    begin: float
    end: float


class ViewPairing:
    """Gives the frames of one camera to the shots they were taken for.

    A frame belongs to the oldest shot in whose window it was captured, and to none otherwise: a late frame is never taken for
    the next part. A shot whose window went by is lost.
    """

    def __init__(self, view: str, window: Window) -> None:
        self._view = view
        self._window = window
        self._waiting: deque[_Waiting] = deque()
        self._held: deque[tuple[Frame | LostFrame, float]] = deque()
        self.not_before = float("-inf")
        """Until then nothing is given up."""
        self._in_flight: Shot | None = None
        self._fired_until = float("-inf")  # until then its frame may be captured
        self._missed = 0
        self.unasked = 0
        """Frames that belong to no trigger."""

    def ask(self, shot: Shot, at: float) -> Frame | LostFrame | None:
        """Wait for the frame of a shot; return it where it has come already, or says why it cannot be had."""
        begin, end = at + self._window.begin_s, at + self._window.end_s
        for index, (item, captured) in enumerate(self._held):
            if begin <= captured <= end:
                del self._held[index]
                return given(item, shot)
        if self._window.apart and self._waiting and begin <= self._waiting[-1].end:
            apart_ms = 1e3 * (self._window.end_s - self._window.begin_s)
            other = self._waiting[-1].shot.part_id
            return self.missing(
                shot,
                f"the trigger came too early: the frame of part {other} may still come, and both could be mistaken for each "
                f"other; leave at least {apart_ms:g} ms between two triggers, or lower deadline_ms",
            )
        self._waiting.append(_Waiting(shot, math.inf if self._window.fired else begin, end))
        return None

    def may_fire(self, shot: Shot, at: float) -> bool:
        """Open the window of a shot, as its camera is triggered now; False where that is too late or another's frame may come.

        A camera that is slow to answer holds up the triggers behind it.
        """
        mine = next((w for w in self._waiting if w.shot == shot), None)
        if mine is None or at > mine.end or at <= self._fired_until:
            return False
        mine.begin, self._in_flight, self._fired_until = at, shot, math.inf  # until it answers
        return True

    def fired(self, shot: Shot, at: float) -> None:
        """Say that the camera answered, or gave up to answer: it may have taken the trigger as late as that.

        The frame of a shot counts until ``end_s`` after it was asked for; this is for how long it may be mistaken for another.
        """
        if self._in_flight == shot:
            self._fired_until = at + self._window.end_s

    def give_up(self, shot: Shot, reason: str) -> LostFrame | None:
        """Stop to wait for a shot; None where its frame had come."""
        for index, waiting in enumerate(self._waiting):
            if waiting.shot == shot:
                del self._waiting[index]
                return self.missing(shot, reason)
        return None

    def take(self, item: Frame | LostFrame, captured: float) -> Frame | LostFrame | None:
        """Return a frame with the shot it was taken for; None where it belongs to none that was asked for."""
        for index, waiting in enumerate(self._waiting):
            if waiting.begin <= captured <= waiting.end:
                del self._waiting[index]
                # The time of a lost frame may be a guess, so another's: then this one's may still come.
                if waiting.shot == self._in_flight and isinstance(item, Frame):
                    self._in_flight, self._fired_until = None, -math.inf
                return given(item, waiting.shot)
        return None

    def keep(self, item: Frame | LostFrame, captured: float) -> None:
        """Hold a frame for a trigger that may still come, where one may come late."""
        if self._window.begin_s < 0:
            self._held.append((item, captured))
            if len(self._held) <= HELD:
                return
            self._held.popleft()
        self.unasked += 1

    def expire(self, now: float) -> list[LostFrame]:
        """Give up what cannot come any more."""
        while self._held and self._held[0][1] + abs(self._window.begin_s) + self._window.transfer_s < now:
            self._held.popleft()
            self.unasked += 1
        gone = [w for w in self._waiting if self._due(w) < now]
        if gone:
            self._waiting = deque(w for w in self._waiting if self._due(w) >= now)
        return [self.missing(w.shot, self._late()) for w in gone]

    def held_back(self) -> None:
        """Say that frames are not taken from now on: nothing is given up that may wait in the camera."""
        self.not_before = math.inf

    def resumed(self, now: float) -> None:
        """Say that frames are taken again: those that waited meanwhile still count."""
        self.not_before = now + self._window.transfer_s

    def next_s(self) -> float | None:
        """Return when :meth:`expire` may have something to do."""
        return min(map(self._due, self._waiting), default=None)

    def waiting(self) -> int:
        return len(self._waiting)

    def clear(self, reason: str) -> list[LostFrame]:
        """Give up everything."""
        shots = [w.shot for w in self._waiting]
        self._waiting.clear()
        self.unasked += len(self._held)
        self._held.clear()
        return [self.missing(shot, reason) for shot in shots]

    def missing(self, shot: Shot, reason: str) -> LostFrame:
        self._missed += 1
        view = f"{shot.view}: " if shot.view else ""
        name = f"{shot.part_id}-{shot.number}-missed"
        return LostFrame(
            _prefixed(shot, name), view + reason, shot.triggered_at, shot.part_id, shot.view, shot, LostCause.NO_FRAME
        )

    @property
    def missed(self) -> int:
        """Shots without a frame."""
        return self._missed

    def _due(self, waiting: _Waiting) -> float:
        return max(waiting.end + self._window.transfer_s, self.not_before)

    def _late(self) -> str:
        return (
            f"no frame was captured within {1e3 * self._window.end_s:g} ms of the trigger (trigger.deadline_ms); check "
            "that the camera is there and takes the trigger"
        )


def given(item: Frame | LostFrame, shot: Shot) -> Frame | LostFrame:
    """Return a frame as the picture of a part."""
    name = _prefixed(shot, item.frame_id)
    return dataclasses.replace(item, frame_id=name, part_id=shot.part_id, shot=shot)


def _prefixed(shot: Shot, name: str) -> str:
    return f"{shot.view}/{name}" if shot.view else name
