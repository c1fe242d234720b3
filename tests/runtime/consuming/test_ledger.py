"""The count of one station, against a plain set of numbers."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetspect.runtime.consuming import ledger as module
from jetspect.runtime.consuming.ledger import StationLedger, spell

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)


def spelled_out(spans: list[tuple[int, int]]) -> list[int]:
    return [seq for a, b in spans for seq in range(a, b + 1)]


@given(
    st.lists(st.integers(1, 30), min_size=1), st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=2)
)
def test_what_is_missing_is_what_a_set_says(seqs: list[int], given_up: list[tuple[int, int]]) -> None:
    ledger, opened, closed = StationLedger(), 0, 0
    for seq in seqs:
        noted = ledger.note(seq, AT)
        opened += noted.opened is not None
        closed += noted.closed is not None
    wanted = set(range(seqs[0], max(seqs) + 1)) - set(seqs)
    assert spelled_out(ledger.holes) == sorted(wanted)
    assert (ledger.missing, ledger.last) == (len(wanted), max(seqs))
    assert ledger.up_to == (min(wanted) - 1 if wanted else max(seqs))
    assert 0 <= closed <= opened
    assert (closed == opened) == (not wanted)
    for first, last in map(sorted, given_up):
        cut = ledger.give_up(first, last)
        assert set(spelled_out(list(cut))) == {seq for seq in wanted if first <= seq <= last}
        wanted -= set(range(first, last + 1))
        assert spelled_out(ledger.holes) == sorted(wanted)


def test_a_gap_is_told_as_it_opened_and_when_its_last_result_came() -> None:
    ledger = StationLedger()
    assert ledger.note(5, AT).opened is None
    assert ledger.note(9, AT).opened == (6, 8)
    assert [ledger.note(seq, AT).closed for seq in (7, 7, 6)] == [None, None, None]
    assert ledger.holes == [(8, 8)]
    assert ledger.note(8, AT).closed == (6, 8)
    assert ledger.up_to == 9


def test_a_count_may_begin_at_one() -> None:
    ledger = StationLedger(first=1)
    assert ledger.up_to == 0
    assert ledger.note(4, AT).opened == (1, 3)


def test_a_station_that_counts_anew_is_noticed_and_a_late_repetition_is_none() -> None:
    ledger = StationLedger()
    for seq in (100, 101):
        ledger.note(seq, AT)
    assert not ledger.note(100, AT).restarted
    assert ledger.note(1, AT + timedelta(seconds=1)).restarted is False, "below its first result nothing was counted"
    noted = ledger.note(100, AT + timedelta(seconds=1))
    assert noted.restarted
    assert (ledger.first, ledger.last, ledger.holes) == (100, 100, [])


def test_an_old_result_from_before_a_clock_jump_leaves_gaps_open() -> None:
    """The station's clock jumped back: what it sent before looks newer than its newest result."""
    ledger = StationLedger()
    ledger.note(1, AT + timedelta(days=1), "a")
    ledger.note(5, AT, "a")
    for count in ("a", None):  # None: it was kept before the station could say which count it is
        noted = ledger.note(1, AT + timedelta(days=1), count)
        assert not noted.restarted
        assert (ledger.holes, ledger.up_to, ledger.gone) == ([(2, 4)], 1, 0)


def test_another_count_is_a_restart_whatever_the_clock_says_and_its_gaps_are_gone() -> None:
    ledger = StationLedger()
    for seq in (1, 5):
        assert not ledger.note(seq, AT, "a").restarted
    noted = ledger.note(7, AT - timedelta(days=1), "b")
    assert (noted.restarted, noted.given_up, noted.opened) == (True, ((2, 4),), None)
    assert (ledger.first, ledger.last, ledger.holes, ledger.gone) == (7, 7, [], 3)
    assert ledger.note(9, AT, "b").opened == (8, 8)


def test_a_station_that_begins_to_name_its_count_goes_on_in_it() -> None:
    ledger = StationLedger()
    assert [ledger.note(seq, AT + timedelta(seconds=seq), name).restarted for seq, name in ((1, None), (2, "a"))] == [
        False,
        False,
    ]
    assert ledger.outbox_id == "a"


def test_gaps_of_an_older_station_that_counts_anew_are_counted_as_gone() -> None:
    ledger = StationLedger()
    for seq in (1, 5):
        ledger.note(seq, AT)
    noted = ledger.note(1, AT + timedelta(seconds=1))
    assert (noted.restarted, noted.given_up, ledger.gone) == (True, ((2, 4),), 3)


def test_endless_gaps_take_no_endless_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_HOLES", 3)
    ledger = StationLedger()
    given_up = [ledger.note(seq, AT).given_up for seq in (1, 3, 5, 7, 9)]
    assert given_up == [(), (), (), (), ((2, 2),)]
    assert (ledger.holes, ledger.gone) == ([(4, 4), (6, 6), (8, 8)], 1)


def test_spans_are_spelled_for_people() -> None:
    assert spell([]) == ""
    assert spell([(3, 3), (7, 9)]) == "3, 7 to 9"
    assert spell([(n, n) for n in range(12)], most=2) == "0, 1 and 10 more ranges"
