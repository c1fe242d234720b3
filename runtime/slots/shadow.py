"""The bundle that is not live looks on: it judges frames that have their result already, and says where it differs."""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from jetspect.errors import JetspectError
from jetspect.runtime.frames import Frame, LostFrame, utc_now
from jetspect.runtime.judging import Judge
from jetspect.runtime.publishing.message_base import model_info
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.publishing.slots_message import JudgedBy, ShadowMessage
from jetspect.runtime.results import Inspection
from jetspect.runtime.slots.folder import Content, Slot, SlotFolder, other

log = logging.getLogger(__name__)
_LOOK_S = 1.0
_NICE = 19  # of the thread, and of those that its engine starts: results come first


class Shadow:
    """Judges in a thread of its own, one frame at a time; while it does, or others wait for their result, it skips.

    Parameters
    ----------
    opener
        Opens the bundle of a slot with the station's settings, and proves it.
    publish
        Takes each difference.
    """

    def __init__(
        self, folder: SlotFolder, opener: Callable[[Slot], Judge], publish: Callable[[ShadowMessage], None]
    ) -> None:
        self._folder, self._opener, self._publish = folder, opener, publish
        self._judge: Judge | None = None
        self._content: Content | None = None  # what was opened, or did not open
        self._compared = self._differed = self._skipped = 0
        self._changed = threading.Condition()
        self._work: tuple[Frame, Inspection, ResultMessage] | None = None
        self._comparing, self._end = False, False
        self._thread = threading.Thread(target=self._run, name="jetspect-shadow", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether it would take a frame just now."""
        with self._changed:
            return self._free()

    def offer(self, item: Frame | LostFrame, inspection: Inspection, message: ResultMessage, *, busy: bool) -> None:
        """Have a frame judged as well, unless that could make another one wait. Returns at once."""
        if isinstance(item, LostFrame):
            return
        with self._changed:
            if busy or not self._free():
                self._skipped += 1
                return
            self._work = (item, inspection, message)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._end = True
            self._changed.notify()
        self._thread.join()
        self._shut()

    def __enter__(self) -> Shadow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _free(self) -> bool:
        """Whether it would take a frame. The caller holds the lock."""
        return self._work is None and not self._comparing and self._judge is not None

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            self._quietly(self._follow)
            with self._changed:
                self._changed.wait_for(lambda: self._end or self._work is not None, _LOOK_S)
                work, self._work = self._work, None
                self._comparing = work is not None
                if self._end:
                    return
            if work is not None:
                self._quietly(lambda work=work: self._compare(*work))  # type: ignore[misc]
                with self._changed:
                    self._comparing = False

    def _quietly(self, work: Callable[[], None]) -> None:
        """A shadow that fails costs nothing but its own answer."""
        try:
            work()
        except JetspectError as error:
            log.warning("the shadow bundle: %s", error)
        except Exception:
            log.exception("the shadow bundle cannot judge this frame; inspection goes on")

    def _follow(self) -> None:
        """Open what lies in the slot that is not live, where it is another one than before."""
        live = self._folder.current()
        content = None if live is None else self._folder.content_of(other(live))
        if content == self._content:
            return
        self._shut()
        self._content = content
        if content is not None and self._folder.filled(content.slot):
            self._judge = self._opener(content.slot)
            log.info("slot %s looks on", content.slot)

    def _shut(self) -> None:
        judge, self._judge = self._judge, None
        if judge is not None:
            judge.inspectors.close()

    def _compare(self, frame: Frame, inspection: Inspection, message: ResultMessage) -> None:
        judge = self._judge
        if judge is None:
            return
        second = judge.inspectors.inspect(frame)
        live, shadow = _judged_by(inspection), _judged_by(second)
        self._compared += 1
        if (live.verdict, live.defects) == (shadow.verdict, shadow.defects):
            return
        self._differed += 1
        self._publish(
            ShadowMessage(
                station=message.station,
                at=utc_now(),
                event_id=message.event_id,
                seq=message.seq,
                frame_id=frame.frame_id,
                part_id=frame.part_id,
                live=live,
                shadow=shadow,
                compared=self._compared,
                differed=self._differed,
                skipped=self._skipped,
            )
        )


def _judged_by(inspection: Inspection) -> JudgedBy:
    return JudgedBy(
        verdict=inspection.verdict,
        reasons=inspection.reasons,
        defects=dict(Counter(defect.class_name for defect in inspection.defects)),
        decision=inspection.decision,
        model=model_info(inspection.model),
    )
