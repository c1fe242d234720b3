"""Parts that a station had begun when it was killed: each gets a verdict after all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from jetspect.runtime.frames import LostCause, LostFrame, Shot
from jetspect.runtime.parts import PartMerger, ViewResult
from jetspect.runtime.publishing.outbox import Outbox, Row
from jetspect.runtime.publishing.result_message import ResultMessage

_REASON = "the station was restarted before its frame was inspected"
_OTHER = "the station was restarted with other views or fewer shots before the part was complete"


def unfinished_parts(
    outbox: Outbox, topic: str, views: Sequence[str], shots: int
) -> tuple[PartMerger, tuple[LostFrame, ...]]:
    """Return what was recorded of parts that were never completed, and what stands for their missing frames.

    Parts of which nothing was recorded leave no trace here.
    """
    merger, owed = PartMerger(), []
    begun = _begun(outbox.newest(4 * len(views) * shots + 64), topic)
    for number, messages in enumerate(begun, 1):
        part_id = messages[0].frame.part_id or ""
        known = {_picture(m) for m in messages}
        missing = [(view, shot) for shot in range(1, shots + 1) for view in views if (view, shot) not in known]
        reason = _REASON if missing else _OTHER
        # Where nothing is missing by what is asked for now, one more stands for what was asked for then.
        missing = missing or [(views[0], max(shot for _, shot in known) + 1)]
        at = min(m.frame.triggered_at or m.frame.captured_at for m in messages)
        expected = len(messages) + len(missing)
        for m in messages:
            shot = Shot(part_id, -number, *_picture(m), expected, at)
            found = len(m.defects) + m.defects_truncated
            merger.note(shot, ViewResult(shot.view, shot.number, m.verdict, m.seq, m.event_id, found))
        for view, n in missing:
            shot = Shot(part_id, -number, view, n, expected, at)
            name = f"{part_id}-{n}-missed"
            owed.append(
                LostFrame(f"{view}/{name}" if view else name, reason, at, part_id, view, shot, LostCause.INTERRUPTED)
            )
    return merger, tuple(owed)


def _begun(rows: Iterable[Row], topic: str) -> list[list[ResultMessage]]:
    """Return the results of each part without a verdict; ``rows`` begin with the newest."""
    complete: set[int] = set()
    begun: list[list[ResultMessage]] = []
    for row in rows:
        if row.topic != topic:
            continue
        try:
            message = ResultMessage.model_validate_json(row.payload)
        except ValidationError:  # of a station that was given another model of messages
            continue
        if message.part is not None:
            complete.update(view.seq for view in message.part.views)
        elif message.frame.shot is not None and message.seq not in complete:
            _one_like(message, begun).insert(0, message)
    return begun


def _one_like(message: ResultMessage, begun: list[list[ResultMessage]]) -> list[ResultMessage]:
    """Return the part that a result belongs to. The same name may come again: a part has each picture once."""
    for part in begun:
        same = part[0].frame.part_id == message.frame.part_id
        if same and _picture(message) not in {_picture(m) for m in part}:
            return part
    begun.append([])
    return begun[-1]


def _picture(message: ResultMessage) -> tuple[str, int]:
    return message.frame.view or "", message.frame.shot or 1
