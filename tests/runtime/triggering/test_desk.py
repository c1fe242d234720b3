"""Triggers, parts and frames together, without threads; times in seconds."""

from __future__ import annotations

import numpy as np

from jetspect.runtime.frames import Frame
from jetspect.runtime.triggering.desk import Desk
from jetspect.runtime.triggering.settings import CameraTrigger

IMAGE = np.zeros((2, 2), np.uint8)


def test_a_part_is_not_closed_while_its_next_picture_waits_in_the_camera() -> None:
    """The line stood for a minute; otherwise all pictures after that would be of the part before."""
    desk = Desk([""], CameraTrigger(shots=3, part_timeout_s=30), "start", ())
    desk.came("", Frame(IMAGE, "1"), 0.0, 0.0)
    desk.held_back("")
    desk.expire(60.0)
    desk.resumed("", 60.0)
    assert desk.next_s() is not None
    assert desk.next_s() >= 60.0  # type: ignore[operator]
    for number in (2, 3):
        desk.expire(60.0 + number / 100)
        desk.came("", Frame(IMAGE, f"{number}"), float(number), 60.0 + number / 100)
    assert [(i.part_id, i.shot.number) for i in desk.ready if i.shot] == [("start-000001", n) for n in (1, 2, 3)]
    assert desk.next_s() is None
