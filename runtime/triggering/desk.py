"""All that is decided about triggers, parts and frames; nothing here waits, and one thread at a time may be in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime

from jetspect.runtime.frames import Frame, LostFrame, Shot, TriggerCounters
from jetspect.runtime.triggering.book import PartBook
from jetspect.runtime.triggering.pairing import ViewPairing, Window, given
from jetspect.runtime.triggering.settings import CameraTrigger, MqttTrigger, TriggerKind

MOST_WAITING = 64  # triggers without a frame yet; more are lost at once


class Desk:
    """Turns triggers and frames into items for the inspection: one for each trigger and camera, whatever happens.

    Times are monotonic seconds. ``ready`` holds what can be inspected, in order.
    """

    def __init__(
        self, views: Sequence[str], settings: TriggerKind, prefix: str, left_over: Iterable[LostFrame]
    ) -> None:
        self._settings = settings
        self._pairings = {name: ViewPairing(name, _window(settings)) for name in views}
        self._book = PartBook(views, shots=settings.shots, timeout_s=settings.part_timeout_s, prefix=prefix)
        self._asked = 0
        self.ready: deque[Frame | LostFrame] = deque(left_over)

    def trigger(self, part_id: str | None, at_utc: datetime, now: float) -> tuple[Shot, list[Shot]]:
        """Take a trigger; return its first shot, and those for which a camera is to be triggered."""
        shots = self._open(part_id, at_utc, now)
        return shots[0], [shot for shot in shots if self._ask(shot, now)]

    def may_fire(self, shot: Shot, now: float) -> bool:
        """The camera is about to be triggered; False where it must not be: its frame would be late, or mistaken for another."""
        if self._pairings[shot.view].may_fire(shot, now):
            return True
        self._give_up(
            shot,
            "the camera was not triggered: it was slow to take the trigger before, whose frame may still come, or it is too "
            "late for this one (trigger.deadline_ms)",
        )
        return False

    def fired(self, shot: Shot, now: float, fault: str = "") -> None:
        """The camera answered to the trigger; ``fault``: why not."""
        self._pairings[shot.view].fired(shot, now)
        if fault:
            self._give_up(shot, f"the trigger did not reach the camera: {fault}")

    def _give_up(self, shot: Shot, reason: str) -> None:
        gone = self._pairings[shot.view].give_up(shot, reason)
        if gone is not None:
            self.ready.append(gone)

    def came(self, view: str, item: Frame | LostFrame, captured: float | None, now: float) -> None:
        """Take what a camera sent; ``captured``: None where nobody knows when."""
        pairing = self._pairings[view]
        if captured is None and isinstance(self._settings, CameraTrigger) and len(self._pairings) == 1:
            captured = now  # a part of its own, whenever that was
        if captured is None:
            pairing.unasked += 1
            return
        found = pairing.take(item, captured)
        if found is None and isinstance(self._settings, CameraTrigger):
            for shot in self._open(None, item.captured_at, captured):
                if shot.view == view:
                    found = given(item, shot)
                else:
                    self._ask(shot, captured)
        if found is None:
            pairing.keep(item, captured)
        else:
            self.ready.append(found)

    def held_back(self, view: str) -> None:
        """The frames of a camera are not taken from now on."""
        self._pairings[view].held_back()

    def resumed(self, view: str, now: float) -> None:
        """The frames of a camera were not taken until now."""
        self._pairings[view].resumed(now)

    def expire(self, now: float) -> None:
        """Give up what cannot come any more."""
        for pairing in self._pairings.values():
            self.ready.extend(pairing.expire(now))
        if now >= self._not_before():
            limit = f"{self._settings.part_timeout_s:g} s (trigger.part_timeout_s)"
            self._abandon(self._book.expire(now), f"the trigger for this shot did not come within {limit}")

    def next_s(self) -> float | None:
        """Return when :meth:`expire` may have something to do."""
        times = [pairing.next_s() for pairing in self._pairings.values()]
        part = self._book.next_s()
        times.append(None if part is None else max(part, self._not_before()))
        return min((at for at in times if at is not None), default=None)

    def _not_before(self) -> float:
        """Return until when a frame that starts the next shot may wait in its camera."""
        return max(pairing.not_before for pairing in self._pairings.values())

    def give_up_all(self, reason: str) -> None:
        for pairing in self._pairings.values():
            self.ready.extend(pairing.clear(reason))
        self._abandon(self._book.close(), reason)

    def images(self) -> int:
        """Return how many frames are ready."""
        return sum(isinstance(item, Frame) for item in self.ready)

    def counters(self) -> TriggerCounters:
        each = self._pairings.values()
        return TriggerCounters(self._asked, sum(p.missed for p in each), sum(p.unasked for p in each))

    def _open(self, part_id: str | None, at_utc: datetime, now: float) -> tuple[Shot, ...]:
        self._asked += 1
        opened = self._book.next(part_id, at_utc, now)
        self._abandon(
            opened.given_up,
            f"the next part came before this shot; trigger.shots expects {self._settings.shots} of a part",
        )
        return opened.shots

    def _ask(self, shot: Shot, at: float) -> bool:
        """Wait for the frame of a shot; False where nothing more needs to be done for it."""
        pairing = self._pairings[shot.view]
        if pairing.waiting() >= MOST_WAITING:
            item: Frame | LostFrame | None = pairing.missing(
                shot, f"{MOST_WAITING} triggers wait for their frames already"
            )
        else:
            item = pairing.ask(shot, at)
        if item is not None:
            self.ready.append(item)
        return item is None

    def _abandon(self, shots: Iterable[Shot], reason: str) -> None:
        self.ready.extend(self._pairings[shot.view].missing(shot, reason) for shot in shots)


def _window(settings: TriggerKind) -> Window:
    deadline_s, transfer_s = settings.deadline_ms / 1e3, settings.transfer_ms / 1e3
    if isinstance(settings, CameraTrigger):
        return Window(-deadline_s, deadline_s, transfer_s, apart=True)
    if settings.fire == "next_frame":
        return Window(settings.delay_ms / 1e3, deadline_s, transfer_s, apart=False)
    early_s = settings.early_ms / 1e3 if isinstance(settings, MqttTrigger) else 0.0
    return Window(-early_s, deadline_s, transfer_s, apart=True, fired=settings.fire == "software")
