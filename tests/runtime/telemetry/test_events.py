"""What the threads of a station tell is counted once, timed, and noticed where it stands still."""

from __future__ import annotations

import dataclasses
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from delivery import inspection
from telemetry_parts import Clock

from jetspect.runtime.frames import Frame, LostCause, LostFrame, SourceCounters
from jetspect.runtime.results import Timings
from jetspect.runtime.telemetry.events import EventLog
from jetspect.runtime.telemetry.process import process_state
from jetspect.runtime.telemetry.progress import Patience, SourceWatch, Threads

FRAME = Frame(np.zeros((4, 4), np.uint8), "f")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events(clock: Clock) -> EventLog:
    return EventLog(("pit", "scratch"), Patience(stuck_s=30.0, idle_s=600.0), clock)


def test_before_the_first_frame_every_counter_is_there_and_zero(events: EventLog) -> None:
    seen = events.read(0)
    assert set(seen.lost) == set(LostCause)
    assert dict(seen.defects) == {"pit": 0, "scratch": 0}
    assert (seen.frames, seen.inspected, seen.waiting, seen.last_frame_s, seen.last_result_s) == (0, 0, 0, None, None)


@pytest.mark.parametrize("cause", list(LostCause))
def test_a_lost_frame_counts_once_whatever_lost_it(events: EventLog, cause: LostCause) -> None:
    """The queue counts its own; what the inspection lost came as a good frame; all others came lost from the source."""
    by_source = cause not in (LostCause.QUEUE_FULL, LostCause.INSPECTION_FAILED)
    events.frame(LostFrame("f", "gone", cause=cause) if by_source else FRAME)
    events.inspected(dataclasses.replace(inspection(), lost_cause=cause, timings=Timings()))
    seen = events.read(int(cause is LostCause.QUEUE_FULL))
    assert {c: n for c, n in seen.lost.items() if n} == {cause: 1}
    assert seen.stages["total"].count == 0


def test_delivery_is_timed_from_the_verdict_to_the_first_acknowledgement(events: EventLog, clock: Clock) -> None:
    one = inspection()
    events.inspected(one)
    clock.now += 0.25
    events.recorded(one, 7, 3.0)
    clock.now += 0.75
    events.acknowledged([7, 7])
    events.acknowledged([7, 99])  # a repetition, and one of an earlier run
    stages = events.read(0).stages
    assert (stages["deliver"].count, stages["deliver"].sum_ms) == (1, pytest.approx(1000.0))
    assert (stages["record"].count, stages["record"].sum_ms) == (1, 3.0)


def test_an_acknowledgement_may_overtake_the_news_of_the_recording(events: EventLog, clock: Clock) -> None:
    one = inspection()
    events.inspected(one)
    clock.now += 0.1
    events.acknowledged([1])
    clock.now += 0.1
    events.recorded(one, 1, 1.0)
    assert events.read(0).stages["deliver"].sum_ms == pytest.approx(100.0)


def test_a_broker_that_never_answers_does_not_fill_the_memory(
    events: EventLog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetspect.runtime.telemetry.events._MOST_AWAITED", 50)
    for seq in range(1, 201):
        one = inspection(seq)
        events.inspected(one)
        clock.now += 0.01
        events.recorded(one, seq, 1.0)
    events.acknowledged(range(1, 201))
    assert events.read(0).stages["deliver"].count == 50


def test_a_frame_that_stays_in_the_inspection_is_noticed_and_an_idle_line_is_not(
    events: EventLog, clock: Clock
) -> None:
    clock.now += 100
    assert events.faults() == []
    events.frame(FRAME)
    clock.now += 30
    assert events.faults() == []
    clock.now += 1
    (fault,) = events.faults()
    assert fault == "inspection: no frame was inspected for 31 s although one waits"
    events.inspected(inspection())
    assert events.faults() == []


def test_a_line_that_waits_for_the_outbox_says_so_once(events: EventLog, clock: Clock) -> None:
    one = inspection()
    events.frame(FRAME)
    events.frame(FRAME)
    events.inspected(one)
    clock.now += 31
    (fault,) = events.faults()
    assert fault.startswith("outbox: no result was recorded for 31 s")
    events.not_recorded("outbox o.sqlite cannot grow; free space on its disk")
    assert events.faults() == ["outbox: outbox o.sqlite cannot grow; free space on its disk"]
    events.recorded(one, 1, 31000.0)
    (fault,) = events.faults()
    assert fault.startswith("inspection:")


def test_a_line_without_frames_is_a_fault_only_where_it_must_not_be_idle(clock: Clock) -> None:
    strict, calm = EventLog((), Patience(idle_s=60.0), clock), EventLog((), Patience(), clock)
    clock.now += 61
    assert strict.faults() == ["idle: no frame came for 61 s, metrics.idle_s allows 60; check the trigger"]
    assert calm.faults() == []


def test_a_source_is_away_from_the_first_look_that_missed_it() -> None:
    watch, away = SourceWatch(), SourceCounters(connected=False)
    assert [watch.away_s(away, 5.0), watch.away_s(away, 7.0)] == [0.0, 2.0]
    assert watch.away_s(SourceCounters(), 8.0) == 0.0
    assert watch.away_s(away, 9.0) == 0.0


def test_a_station_that_was_not_started_is_not_ready() -> None:
    assert Threads().faults() == ["not_running: the station has not started"]


def _no_more_files(_: Path) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def test_memory_and_open_files_are_read_and_an_unknown_system_gives_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = process_state()
    assert before.rss_bytes > 1_000_000
    with (tmp_path / "a").open("w"), (tmp_path / "b").open("w"):
        assert process_state().open_files == before.open_files + 2
    assert process_state(tmp_path).open_files == process_state(tmp_path).rss_bytes == 0
    (tmp_path / "statm").write_text("nonsense")
    with monkeypatch.context() as none_left:
        none_left.setattr(Path, "iterdir", _no_more_files)
        assert process_state().open_files > 100
    assert process_state(tmp_path).rss_bytes == 0
