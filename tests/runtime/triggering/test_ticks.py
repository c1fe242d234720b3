"""Triggers by a timer and by an encoder."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from jetspect.errors import SourceError
from jetspect.runtime.triggering.settings import EncoderTrigger, TimerTrigger
from jetspect.runtime.triggering.ticks import Travel, read_count, run_encoder, run_timer


def test_the_first_reading_is_the_origin() -> None:
    travel = Travel(10)
    assert [travel.read(n) for n in (1234, 1243, 1244, 1245)] == [0, 0, 1, 0]


def test_several_pitches_between_two_readings_all_count() -> None:
    travel = Travel(10)
    travel.read(0)
    assert travel.read(35) == 3
    assert travel.read(40) == 1


def test_moving_back_and_forth_pictures_nothing_twice() -> None:
    travel = Travel(10)
    assert [travel.read(n) for n in (0, 10, 5, 10, 0, -25, 10, 19, 20)] == [0, 1, 0, 0, 0, 0, 0, 0, 1]


def test_a_counter_that_counts_down_and_one_that_wraps() -> None:
    down = Travel(-10)
    assert [down.read(n) for n in (0, -10, -20)] == [0, 1, 1]
    wraps = Travel(10, wraps_at=100)
    assert [wraps.read(n) for n in (95, 99, 5, 4, 15)] == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("there", [0, -5_000_000, 10_000_000])
def test_after_a_counter_was_reset_the_next_pitch_counts(there: int) -> None:
    """Otherwise material would pass without a picture for as long as had passed before."""
    travel = Travel(10)
    travel.read(4_999_995)
    assert travel.read(5_000_000) == 0
    assert travel.read(there) is None
    assert travel.read(there + 5) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no whole number"),
        ("12.5", "no whole number"),
        ("9" * 400, "no whole number"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_counter_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "count"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SourceError, match=words):
        read_count(path)


def test_an_encoder_triggers_at_each_pitch_and_survives_a_missing_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "count"
    path.write_text("100\n")
    settings = EncoderTrigger(count_file=path, counts_per_mm=4, pitch_mm=25, poll_ms=1)
    stop, seen = threading.Event(), threading.Semaphore(0)
    thread = threading.Thread(target=run_encoder, args=(settings, lambda _: seen.release(), stop))
    thread.start()

    def move(count: int) -> None:
        beside = path.with_suffix(".new")
        beside.write_text(f"{count}\n")
        beside.rename(path)

    try:
        time.sleep(0.05)
        move(300)
        assert all(seen.acquire(timeout=5) for _ in range(2))
        path.unlink()
        while not caplog.records:
            time.sleep(0.002)
        move(100_000_000)
        while len(caplog.records) < 2:
            time.sleep(0.002)
        move(100_000_100)
        assert seen.acquire(timeout=5)
        assert not seen.acquire(timeout=0.02), "a leap that cannot be is no trigger"
    finally:
        stop.set()
        thread.join()
    assert "cannot be read" in caplog.records[0].message
    assert "not believed" in caplog.records[1].message


def test_what_passed_while_the_count_could_not_be_read_is_as_old_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "count"
    path.write_text("0")
    settings = EncoderTrigger(count_file=path, counts_per_mm=1, pitch_mm=10, poll_ms=100)
    stop, ages = threading.Event(), []

    def trigger(ago_s: float) -> None:
        ages.append(ago_s)
        if len(ages) == 4:
            stop.set()

    thread = threading.Thread(target=run_encoder, args=(settings, trigger, stop))
    thread.start()
    time.sleep(0.15)
    path.write_text("40")
    thread.join(timeout=5)
    assert ages == pytest.approx([0.075, 0.05, 0.025, 0.0], rel=0.5)


def test_a_timer_keeps_its_rate() -> None:
    stop, at = threading.Event(), []

    def trigger() -> None:
        at.append(time.monotonic())
        if len(at) == 6:
            stop.set()

    run_timer(TimerTrigger(period_s=0.02), trigger, stop)
    assert at[-1] - at[0] >= 5 * 0.02 - 0.005
