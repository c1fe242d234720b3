"""One verdict from several frames."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetspect.runtime.frames import Shot, utc_now
from jetspect.runtime.parts import PartMerger, ViewResult, worst
from jetspect.runtime.results import Verdict

OK, NOK, UNKNOWN = Verdict.OK, Verdict.NOK, Verdict.UNKNOWN


def shot(part: int, number: int, expected: int, view: str = "") -> Shot:
    return Shot(f"P{part}", part, view, number, expected, utc_now())


def result(number: int, verdict: Verdict = OK, view: str = "") -> ViewResult:
    return ViewResult(view, number, verdict, number, f"e{number}", 0)


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ([OK], OK),
        ([OK, OK], OK),
        ([OK, UNKNOWN], UNKNOWN),
        ([UNKNOWN, NOK, OK], NOK),
        ([NOK], NOK),
    ],
)
def test_a_defect_counts_first_then_what_was_not_seen(verdicts: list[Verdict], whole: Verdict) -> None:
    for order in itertools.permutations(verdicts):
        assert worst(order) == whole


def test_a_part_of_one_frame_is_complete_with_it() -> None:
    whole = PartMerger().merged(shot(1, 1, 1), result(1, NOK))
    assert whole is not None
    assert (whole.part_id, whole.verdict, whole.views) == ("P1", NOK, (result(1, NOK),))


def test_asking_changes_nothing_because_recording_may_fail() -> None:
    merger = PartMerger()
    for _ in range(3):
        assert merger.merged(shot(1, 1, 2), result(1)) is None
    merger.note(shot(1, 1, 2), result(1))
    for _ in range(3):
        assert merger.merged(shot(1, 2, 2), result(2)) is not None
    assert len(merger) == 1
    merger.note(shot(1, 2, 2), result(2))
    assert len(merger) == 0


def test_frames_are_named_in_the_order_of_shots_and_views() -> None:
    merger = PartMerger()
    first, second = shot(1, 2, 2, "a"), shot(1, 1, 2, "b")
    merger.note(first, result(2, view="a"))
    whole = merger.merged(second, result(1, view="b"))
    assert whole is not None
    assert [(v.number, v.view) for v in whole.views] == [(1, "b"), (2, "a")]
    assert whole.triggered_at == first.triggered_at


@given(order=st.permutations([(part, number) for part in (1, 2, 3) for number in (1, 2, 3)]))
def test_parts_may_come_mixed(order: list[tuple[int, int]]) -> None:
    merger, complete = PartMerger(), []
    for part, number in order:
        asked = shot(part, number, 3)
        whole = merger.merged(asked, result(number))
        merger.note(asked, result(number))
        if whole is not None:
            complete.append(whole.part_id)
            assert [v.number for v in whole.views] == [1, 2, 3]
    assert sorted(complete) == ["P1", "P2", "P3"]
    assert len(merger) == 0
