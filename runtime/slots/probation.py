"""Watch over the bundle that judges: its record, its probation, and the file that outlives the process."""

from __future__ import annotations

import time
from collections.abc import Callable

from jetspect.runtime.judging import Judge
from jetspect.runtime.publishing.slots_message import SlotsInfo
from jetspect.runtime.results import Inspection
from jetspect.runtime.slots.deploy import on_probation
from jetspect.runtime.slots.folder import Slot, SlotFolder, other
from jetspect.runtime.slots.settings import SlotSettings
from jetspect.runtime.slots.state import (
    Happening,
    Probation,
    Record,
    SlotsState,
    SlotState,
    read_state,
    slot_state,
    write_state,
)
from jetspect.runtime.slots.trial import Tally, is_look, judge_trial

_SAVE_S = 60.0
_PATIENCE_S = 2.0  # for a deploy that holds the lock; the next look tries again


class Supervisor:
    """Counts what the live bundle judges, and compares it with the one before while it is on probation.

    ``against`` says why the bundle has to go, and is emptied by who carries that out. The caller keeps calls apart.
    """

    def __init__(self, folder: SlotFolder, settings: SlotSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._settings, self._clock = folder, settings, clock
        self.against = ""
        self.last: Happening | None = None
        self._tally = Tally()
        self._slot: Slot | None = None
        self._entry: SlotState | None = None
        self._probation: Probation | None = None
        self._baseline = Record()
        self._passed = self._ended = False
        self._owed: tuple[Slot, SlotState] | None = None  # the old bundle's record, until it is on the disk
        self._since = self._saved = clock()

    def count_start(self) -> str:
        """Count a start of the station, before the bundle can bring it down; :meth:`end` takes it back.

        Says why the bundle has to go where too many starts had no end.
        """
        if on_probation(self._folder, read_state(self._folder)) is None:
            return ""
        with self._folder.lock(_PATIENCE_S):
            state = read_state(self._folder)
            probation = on_probation(self._folder, state)
            if probation is None:
                return ""
            died = probation.starts
            probation = probation.model_copy(update={"starts": died + 1})
            write_state(self._folder, state.model_copy(update={"probation": probation}))
        most = self._settings.max_crashes
        if died <= most:
            return ""
        return f"crashes: the station died {died} times while the bundle was on probation; {most} are allowed"

    def begin(self, slot: Slot, judge: Judge) -> None:
        """A bundle judges from here on."""
        state = read_state(self._folder)
        self.last = state.last if state.last is not None and state.last.slot == slot else None
        self._slot, self._since, self._passed, self.against = slot, self._clock(), False, ""
        known = state.slots.get(slot)
        if known is None or known.manifest_sha256 != judge.bundle.manifest_sha256:
            known = slot_state(judge.bundle, str(judge.golden))
        self._entry = known
        self._probation = on_probation(self._folder, state)
        if self._probation is not None and self._probation.slot != slot:
            self._probation = None
        self._tally = Tally(known.record if self._probation is None else self._probation.record)
        before = state.slots.get(other(slot))
        self._baseline = Record() if before is None else before.record

    def exchange(self, slot: Slot, judge: Judge) -> None:
        """As :meth:`begin`, while the old bundle's record is at hand."""
        record, old, entry = self._tally.record(), self._slot, self._entry
        self.begin(slot, judge)
        if old is not None and old != slot and entry is not None:
            self._baseline = record
            self._owed = (old, entry.model_copy(update={"record": record}))

    def judged(self, inspection: Inspection, *, throttled: bool = False) -> None:
        if self._tally.add(inspection, throttled=throttled) and self._on_trial and is_look(self._tally.frames):
            self.against = judge_trial(self._tally, self._baseline, self._settings)

    def failed(self) -> None:
        """An inspection ended with an error."""
        self._tally.add_error()
        if self._on_trial:
            self.against = judge_trial(self._tally, self._baseline, self._settings)

    def look(self) -> bool:
        """Do what time asks for; True where there is something to save and to tell."""
        long_enough = self._elapsed_s() >= 60 * self._settings.probation_minutes
        if self._on_trial and long_enough and self._tally.frames >= self._settings.min_frames and not self.against:
            self.against = judge_trial(self._tally, self._baseline, self._settings)
            self._passed = not self.against
            return self._passed
        return self._clock() - self._saved >= _SAVE_S

    def save(self) -> None:
        """Put what is known on the disk; DeployError where that is not possible just now."""
        if self._slot is None or self._entry is None:
            return
        with self._folder.lock(_PATIENCE_S):
            state = read_state(self._folder)
            write_state(self._folder, self._merged(state, self._slot, self._entry))
        self._owed, self._saved = None, self._clock()

    def end(self) -> None:
        """The station ends in good order; errors as :meth:`save`."""
        self._ended = True
        self.save()

    def refused(self, reason: str, slot: Slot) -> None:
        """It was to go back, and could not; it stays, and is not tried any further."""
        self._probation = None
        self.last = Happening(what="kept", slot=other(slot), reason=reason)

    def info(self, slot: Slot) -> SlotsInfo:
        last = self.last
        return SlotsInfo(
            live=slot,
            on_probation=self._on_trial,
            frames=self._tally.frames,
            event="" if last is None else last.what,
            reason="" if last is None else last.reason,
            at=None if last is None else last.at,
        )

    @property
    def _on_trial(self) -> bool:
        return self._probation is not None and not self._passed

    def _elapsed_s(self) -> float:
        return (0.0 if self._probation is None else self._probation.elapsed_s) + self._clock() - self._since

    def _merged(self, state: SlotsState, slot: Slot, entry: SlotState) -> SlotsState:
        """Return the file's state with what this process knows; a deploy may have changed the rest meanwhile."""
        slots: dict[Slot, SlotState] = dict(state.slots)
        changes: dict[str, object] = {}
        for place, mine in filter(None, (self._owed, (slot, entry))):
            found = slots.get(place)
            if found is None or found.manifest_sha256 == mine.manifest_sha256:
                slots[place] = mine
        probation = self._probation
        same = probation is not None and state.probation is not None and state.probation.began == probation.began
        if self._passed and same:
            self.last = Happening(what="passed", slot=slot, reason="")
            changes = {"probation": None, "last": self.last}
            self._probation = None
        record = self._tally.record()
        if self._on_trial and same and state.probation is not None:
            starts = max(0, state.probation.starts - self._ended)
            update = {"record": record, "elapsed_s": self._elapsed_s(), "starts": starts}
            changes = {"probation": state.probation.model_copy(update=update)}
        elif (found := slots.get(slot)) is not None and found.manifest_sha256 == entry.manifest_sha256:
            slots[slot] = found.model_copy(update={"record": record})
        return state.model_copy(update={"slots": slots, **changes})
