"""Judge frames with the live slot's bundle, and take a new one between two frames.

The new bundle is opened and proven in a thread of its own while the old one goes on judging; the exchange itself is one
assignment between two frames, so none is dropped, and the next one is judged by the new bundle.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from jetspect.errors import DeployError, JetspectError
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.judging import Judge
from jetspect.runtime.publishing.slots_message import SlotsInfo
from jetspect.runtime.results import Inspection, ModelIdentity
from jetspect.runtime.slots.deploy import roll_back
from jetspect.runtime.slots.folder import Content, Slot, SlotFolder, other
from jetspect.runtime.slots.probation import Supervisor
from jetspect.runtime.slots.settings import SlotSettings
from jetspect.runtime.slots.state import only_looks_on, read_state

log = logging.getLogger(__name__)
_LOOK_S = 1.0
Opener = Callable[[Slot], Judge]


@dataclass(frozen=True, eq=False)
class _Active:
    content: Content
    judge: Judge


class SlotInspectors:
    """What :class:`jetspect.runtime.views.ViewInspectors` is for one bundle, for two slots. Closing it closes the engine.

    ``on_change`` is called after an exchange and after news of the probation, in the thread that looks after the slots.
    ``throttled_since`` says what slowed the device down since a time (monotonic); a frame's latency says nothing then.

    Parameters
    ----------
    opener
        Opens the bundle of a slot with the station's settings, and proves it.

    Raises
    ------
    JetspectError
        No slot has a bundle that opens.
    """

    def __init__(self, folder: SlotFolder, settings: SlotSettings, opener: Opener) -> None:
        self._folder, self._opener = folder, opener
        self.on_change: Callable[[], None] = lambda: None
        self.throttled_since: Callable[[float], str] = lambda _: ""
        self._lock = threading.Lock()  # held for one frame, and for the exchange
        self._wake, self._end = threading.Event(), threading.Event()
        self._left: Content | None = None  # what was tried and did not open
        self._trouble = ""
        self._supervisor = Supervisor(folder, settings)
        self._active = self._start()
        self._supervisor.begin(self._active.content.slot, self._active.judge)
        self._thread = threading.Thread(target=self._run, name="jetspect-slots", daemon=True)
        self._thread.start()

    def inspect(self, frame: Frame | LostFrame) -> Inspection:
        """Judge one frame with the live bundle; errors as :meth:`jetspect.runtime.inspector.Inspector.inspect`."""
        with self._lock:
            began = time.monotonic()
            try:
                inspection = self._active.judge.inspectors.inspect(frame)
                self._supervisor.judged(inspection, throttled=bool(self.throttled_since(began)))
            except Exception:
                self._supervisor.failed()
                raise
            finally:
                if self._supervisor.against:
                    self._wake.set()
            return inspection

    @property
    def model(self) -> ModelIdentity:
        return self._active.judge.inspectors.model

    @property
    def classes(self) -> tuple[str, ...]:
        return self._active.judge.inspectors.classes

    @property
    def tile_px(self) -> int:
        return self._active.judge.inspectors.tile_px

    @property
    def golden(self) -> str:
        return str(self._active.judge.golden)

    def info(self) -> SlotsInfo:
        """Return what is published of the slots."""
        return self._supervisor.info(self._active.content.slot)

    def close(self) -> None:
        if self._end.is_set():
            return
        self._end.set()
        self._wake.set()
        self._thread.join()
        with self._lock:
            self._quietly(self._supervisor.end)
            self._active.judge.inspectors.close()

    def __enter__(self) -> SlotInspectors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> _Active:
        """Open the live slot; where it does not open, or starts too often on probation, the other one."""
        self._mend()
        content = self._folder.content()
        if content is None:
            raise DeployError(f"nothing is deployed in {self._folder.path}; do it with: jetspect device deploy BUNDLE")
        reason = ""
        try:
            reason = self._supervisor.count_start()
        except DeployError as error:
            log.error("a start of the station cannot be counted: %s", error)
        if reason:
            log.error("slot %s: %s; going back to slot %s", content.slot, reason, other(content.slot))
            if self._back(reason, other(content.slot)):
                content = self._folder.content() or content
        try:
            return _Active(content, self._opener(content.slot))
        except JetspectError as error:
            spare = other(content.slot)
            if not self._folder.filled(spare) or only_looks_on(read_state(self._folder), spare):
                raise
            try:
                judge = self._opener(spare)
            except JetspectError:
                raise error from None
            log.error("slot %s does not open, slot %s goes on: %s", content.slot, spare, error)
            self._back(f"slot {content.slot} does not open: {error}", spare)
            return _Active(self._folder.content() or content, judge)

    def _mend(self) -> None:
        try:
            if self._folder.torn:  # else a start would wait for a deploy that copies
                with self._folder.lock():
                    self._folder.mend()
        except DeployError as error:
            log.error("what a deploy may have left half done is not put right: %s", error)

    def _run(self) -> None:
        while not self._end.is_set():
            for work in (self._follow, self._supervise):
                self._quietly(work)
            self._wake.wait(_LOOK_S)
            self._wake.clear()

    def _quietly(self, work: Callable[[], None]) -> None:
        """Say once what does not work; the bundle that judges goes on."""
        try:
            work()
        except JetspectError as error:
            if str(error) != self._trouble:
                log.error("%s", error)
            self._trouble = str(error)
        except Exception:
            log.exception("the slots cannot be looked after just now; inspection goes on")
        else:
            self._trouble = ""

    def _follow(self) -> None:
        """Take what the pointer leads to now."""
        content = self._folder.content()
        if content is None or content in (self._active.content, self._left):
            return
        with self._folder.lock():  # who moved the pointer may still be writing down why
            content = self._folder.content()
        if content is None:
            return
        try:
            judge = self._opener(content.slot)
        except Exception as error:  # whatever it is: the old one goes on
            self._left = content
            reason = f"slot {content.slot} does not open: {error or type(error).__name__}"
            log.error(
                "%s; slot %s goes on", reason, self._active.content.slot, exc_info=not isinstance(error, JetspectError)
            )
            mine = self._active.content
            # What judges may lie in no slot any more: two deploys in a row filled its place anew.
            self._back(reason, mine.slot if self._folder.content_of(mine.slot) == mine else other(content.slot))
            self.on_change()
            return
        with self._lock:
            try:
                self._supervisor.exchange(content.slot, judge)
            except BaseException:
                judge.inspectors.close()
                raise
            old, self._active = self._active, _Active(content, judge)
        log.info("slot %s judges from here on: %s", content.slot, judge.inspectors.model.engine)
        self.on_change()
        old.judge.inspectors.close()
        self._supervisor.save()

    def _supervise(self) -> None:
        with self._lock:
            news = self._supervisor.look()
        if reason := self._supervisor.against:
            slot = self._active.content.slot
            log.error("slot %s goes back to slot %s: %s", slot, other(slot), reason)
            self._supervisor.against = ""
            if self._back(reason, other(slot)):
                self._follow()
        elif news:
            self.on_change()
            self._supervisor.save()

    def _back(self, reason: str, to: Slot) -> bool:
        """Move the pointer, and keep the reason for those who look at the station."""
        try:
            self._supervisor.last = roll_back(self._folder, reason, to=to)
        except DeployError as error:
            log.error("%s; %s", reason, error)
            self._supervisor.refused(f"{reason}; {error}", to)
            return False
        return True
