"""Which frame belongs to which trigger; times in seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from jetspect.runtime.frames import Frame, LostFrame, Shot, utc_now
from jetspect.runtime.triggering.pairing import HELD, ViewPairing, Window

EXACT = Window(0.0, 0.1, 0.2, apart=True)
FREE = Window(0.02, 0.1, 0.2, apart=False)
EARLY = Window(-0.05, 0.1, 0.2, apart=True)
SOFT = Window(0.0, 0.1, 0.2, apart=True, fired=True)
IMAGE = np.zeros((2, 2), np.uint8)


def shot(number: int, view: str = "") -> Shot:
    return Shot(f"P{number}", number, view, 1, 1, utc_now())


def frame(number: int) -> Frame:
    return Frame(IMAGE, f"f{number}")


def test_the_frame_in_the_window_gets_the_part() -> None:
    pairing = ViewPairing("", EXACT)
    assert pairing.ask(shot(1), 0.0) is None
    taken = pairing.take(frame(1), 0.05)
    assert isinstance(taken, Frame)
    assert (taken.part_id, taken.shot and taken.shot.part_id, taken.frame_id) == ("P1", "P1", "f1")
    assert taken.image is IMAGE
    assert pairing.waiting() == 0


def test_a_lost_frame_takes_the_place_of_its_shot() -> None:
    pairing = ViewPairing("top", EXACT)
    pairing.ask(shot(1, "top"), 0.0)
    taken = pairing.take(LostFrame("f1", "packets were lost"), 0.05)
    assert isinstance(taken, LostFrame)
    assert (taken.part_id, taken.reason, taken.frame_id) == ("P1", "packets were lost", "top/f1")


@pytest.mark.parametrize("captured", [-0.001, 0.101])
def test_a_frame_outside_the_window_is_never_taken_for_the_part(captured: float) -> None:
    pairing = ViewPairing("", EXACT)
    pairing.ask(shot(1), 0.0)
    item = frame(1)
    assert pairing.take(item, captured) is None
    pairing.keep(item, captured)
    assert pairing.unasked == 1
    assert pairing.waiting() == 1


def test_a_shot_is_given_up_when_its_frame_cannot_be_whole_any_more() -> None:
    pairing = ViewPairing("side", EXACT)
    pairing.ask(shot(7, "side"), 1.0)
    assert pairing.next_s() == pytest.approx(1.3)
    assert pairing.expire(1.29) == []
    (gone,) = pairing.expire(1.31)
    assert gone.part_id == "P7"
    assert gone.frame_id == "side/P7-1-missed"
    assert "no frame was captured within 100 ms" in gone.reason
    assert (pairing.missed, pairing.expire(9.0), pairing.next_s()) == (1, [], None)


def test_two_triggers_that_could_be_mistaken_for_each_other_are_not_both_asked() -> None:
    pairing = ViewPairing("", EXACT)
    pairing.ask(shot(1), 0.0)
    refused = pairing.ask(shot(2), 0.1)
    assert isinstance(refused, LostFrame)
    assert "too early" in refused.reason
    assert refused.part_id == "P2"
    # Once the first has its frame, nothing can be mistaken.
    assert pairing.take(frame(1), 0.05) is not None
    assert pairing.ask(shot(3), 0.11) is None


def test_transfer_may_overlap_the_next_trigger() -> None:
    pairing = ViewPairing("", EXACT)
    pairing.ask(shot(1), 0.0)
    assert pairing.ask(shot(2), 0.11) is None
    first, second = pairing.take(frame(1), 0.04), pairing.take(frame(2), 0.15)
    assert [item.part_id for item in (first, second) if item] == ["P1", "P2"]


def test_a_camera_that_runs_freely_serves_triggers_in_turn() -> None:
    pairing = ViewPairing("", FREE)
    for number in (1, 2):
        assert pairing.ask(shot(number), 0.01 * number) is None
    assert pairing.take(frame(0), 0.015) is None, "exposed before delay_ms had passed"
    assert [pairing.take(frame(n), 0.04 + 0.02 * n).part_id for n in (1, 2)] == ["P1", "P2"]  # type: ignore[union-attr]


def test_a_frame_before_its_message_is_held_and_only_so_long() -> None:
    pairing = ViewPairing("", EARLY)
    pairing.keep(frame(1), 1.0)
    taken = pairing.ask(shot(1), 1.04)
    assert isinstance(taken, Frame)
    pairing.keep(frame(2), 2.0)
    assert pairing.expire(2.3) == []
    assert pairing.unasked == 1
    assert pairing.ask(shot(2), 2.3) is None


def test_few_frames_are_held() -> None:
    pairing = ViewPairing("", EARLY)
    for number in range(10):
        pairing.keep(frame(number), 1.0)
    assert pairing.unasked == 10 - HELD


def test_a_picture_that_the_camera_took_too_late_is_not_of_the_part() -> None:
    """It answered after half a second: what is before it then may be the next part."""
    pairing = ViewPairing("", SOFT)
    asked = shot(1)
    pairing.ask(asked, 0.0)
    assert pairing.may_fire(asked, 0.01)
    pairing.fired(asked, 0.5)
    assert pairing.take(frame(1), 0.45) is None


def test_a_shot_whose_trigger_failed_is_given_up_once() -> None:
    pairing = ViewPairing("", EXACT)
    asked = shot(1)
    pairing.ask(asked, 0.0)
    gone = pairing.give_up(asked, "no answer")
    assert gone is not None
    assert gone.reason == "no answer"
    assert pairing.give_up(asked, "no answer") is None


def test_no_frame_counts_for_a_trigger_that_the_camera_does_not_have_yet() -> None:
    """The camera was slow to take P1: its frame is not that of P2, which comes after it."""
    pairing = ViewPairing("", SOFT)
    first, second, third = shot(1), shot(2), shot(3)
    pairing.ask(first, 0.0)
    assert pairing.may_fire(first, 0.09)
    pairing.ask(second, 0.11)
    assert not pairing.may_fire(second, 0.12)
    assert pairing.take(frame(1), 0.12) is None
    pairing.fired(first, 0.13)
    assert not pairing.may_fire(second, 0.14), "P1's frame may come until 0.23"
    pairing.ask(third, 0.22)
    assert not pairing.may_fire(third, 0.225)
    assert pairing.may_fire(third, 0.24)
    taken = pairing.take(frame(2), 0.25)
    assert taken is not None
    assert taken.part_id == "P3"


def test_the_next_trigger_need_not_wait_where_the_frame_came_before_the_answer() -> None:
    pairing = ViewPairing("", SOFT)
    first, second = shot(1), shot(2)
    pairing.ask(first, 0.0)
    pairing.may_fire(first, 0.0)
    assert pairing.take(frame(1), 0.01) is not None
    pairing.fired(first, 0.02)
    pairing.ask(second, 0.03)
    assert pairing.may_fire(second, 0.03)


def test_a_lost_frame_does_not_say_that_the_camera_is_done() -> None:
    """Its time may be a guess: it was the one before, and the frame of P1 comes into the window of P2."""
    pairing = ViewPairing("", SOFT)
    first, second = shot(1), shot(2)
    pairing.ask(first, 0.0)
    pairing.may_fire(first, 0.0)
    assert pairing.take(LostFrame("f0", "packets were lost"), 0.01) is not None
    pairing.fired(first, 0.02)
    pairing.ask(second, 0.03)
    assert not pairing.may_fire(second, 0.03)


def test_a_shot_that_waited_too_long_for_its_camera_is_not_fired() -> None:
    pairing = ViewPairing("", SOFT)
    asked = shot(1)
    pairing.ask(asked, 0.0)
    assert not pairing.may_fire(asked, 0.11)


def test_a_shot_that_was_given_up_is_not_fired_any_more() -> None:
    pairing = ViewPairing("", SOFT)
    asked = shot(1)
    pairing.ask(asked, 0.0)
    assert len(pairing.expire(1.0)) == 1
    assert not pairing.may_fire(asked, 1.0)


def test_a_camera_that_did_not_answer_may_have_taken_the_picture() -> None:
    pairing = ViewPairing("", SOFT)
    first, second, third = shot(1), shot(2), shot(3)
    pairing.ask(first, 0.0)
    pairing.may_fire(first, 0.0)
    pairing.fired(first, 3.0)
    pairing.give_up(first, "no answer")
    pairing.ask(second, 3.05)
    assert not pairing.may_fire(second, 3.05)
    assert pairing.take(frame(1), 3.06) is None
    pairing.give_up(second, "not fired")
    pairing.ask(third, 3.11)
    assert pairing.may_fire(third, 3.11)


def test_frames_that_waited_to_be_taken_still_count() -> None:
    pairing = ViewPairing("", EXACT)
    pairing.ask(shot(1), 0.0)
    pairing.resumed(5.0)
    assert pairing.expire(5.1) == []
    assert pairing.take(frame(1), 0.05) is not None


@examples(
    gaps=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=20),
    frames=st.lists(st.floats(-0.1, 4.0), max_size=40),
    window=st.sampled_from([EXACT, FREE, EARLY]),
)
def test_every_shot_has_one_item_and_every_frame_one_use(
    gaps: list[float], frames: list[float], window: Window
) -> None:
    """Whatever comes when: no trigger without an item, no frame for two parts, none outside its window."""
    asked = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    events: list[tuple[float, str, int]] = [(at, "ask", n) for n, at in enumerate(asked)]
    events += [(at, "frame", n) for n, at in enumerate(frames)]
    pairing = ViewPairing("", window)
    items: list[Any] = []
    for at, what, number in sorted(events):
        items += pairing.expire(at)
        if what == "ask":
            items.append(pairing.ask(shot(number), at))
        else:
            items.append(pairing.take(frame(number), at))
            if items[-1] is None:
                pairing.keep(frame(number), at)
    items += pairing.clear("end")
    items = [item for item in items if item is not None]
    assert sorted(item.shot.part_no for item in items) == list(range(len(asked)))
    used = [item for item in items if isinstance(item, Frame)]
    assert len({item.frame_id for item in used}) == len(used)
    assert len(used) + pairing.unasked == len(frames)
    for item in used:
        assert item.shot is not None
        late = frames[int(item.frame_id[1:])] - asked[item.shot.part_no]
        assert window.begin_s - 1e-9 <= late <= window.end_s + 1e-9
