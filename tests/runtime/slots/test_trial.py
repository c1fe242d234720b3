"""When a new bundle counts as worse: never by chance alone, always when it is."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from delivery import inspection

from jetspect.runtime.frames import LostCause
from jetspect.runtime.results import Timings, Verdict
from jetspect.runtime.slots.settings import SlotSettings
from jetspect.runtime.slots.state import KEPT_FRAMES, Record
from jetspect.runtime.slots.trial import Tally, is_look, judge_trial, least_rise

SETTINGS = SlotSettings()


def tally(outcomes: str, latency_ms: float = 10.0) -> Tally:
    made = Tally()
    verdicts = {"O": Verdict.OK, "N": Verdict.NOK, "U": Verdict.UNKNOWN}
    for letter in outcomes:
        if letter == "E":
            made.add_error()
        else:
            made.add(replace(inspection(), verdict=verdicts[letter], timings=Timings(total_ms=latency_ms)))
    return made


@pytest.mark.parametrize(
    ("now", "of_now", "then", "of_then", "least"),
    [
        (56, 70, 48, 80, 0.0524),
        (9, 10, 3, 10, 0.1705),
        (6, 7, 2, 7, 0.0582),
        (5, 56, 0, 29, -0.0381),
        (0, 10, 0, 10, -0.2775),
    ],
)
def test_the_interval_is_that_of_the_paper(now: int, of_now: int, then: int, of_then: int, least: float) -> None:
    """Newcombe 1998, table II, method 10, two-sided 95 %."""
    assert least_rise(now, of_now, then, of_then, z=1.959964) == pytest.approx(least, abs=5e-5)


def test_nothing_speaks_against_a_bundle_that_judged_nothing_or_has_no_one_to_compare_with() -> None:
    assert judge_trial(Tally(), Record(outcomes="O" * 100), SETTINGS) == ""
    assert judge_trial(tally("N" * 1000), Record(), SETTINGS) == ""


def test_a_few_bad_frames_are_chance_and_many_are_not() -> None:
    old = Record(outcomes="O" * 2000)
    assert judge_trial(tally("NNOOOOOO"), old, SETTINGS) == ""
    assert judge_trial(tally("N" * 8 + "O" * 8), old, SETTINGS) == ""
    assert judge_trial(tally("N" * 16), old, SETTINGS).startswith("NOK rate: 16 of 16 frames (100.0 %), 0 of 16 before")
    assert judge_trial(tally("U" * 16), old, SETTINGS).startswith("UNKNOWN rate: ")


def test_a_rise_within_what_is_allowed_is_none() -> None:
    old = Record(outcomes="O" * 1900 + "N" * 100)
    assert judge_trial(tally("O" * 1900 + "N" * 180), old, SETTINGS) == ""
    assert "NOK rate" in judge_trial(tally("O" * 1000 + "N" * 1000), old, SETTINGS)


def test_the_old_record_counts_with_as_many_of_its_last_frames() -> None:
    """The line ran bad parts before the switch and still does: no fault of the new bundle."""
    old = Record(outcomes="O" * 1900 + "N" * 64)
    assert judge_trial(tally("N" * 64), old, SETTINGS) == ""


def test_errors_are_counted_against_those_of_the_old_bundle() -> None:
    assert judge_trial(tally("OEEEO"), Record(), SETTINGS) == ""
    assert judge_trial(tally("OEEEE"), Record(), SETTINGS).startswith("errors: 4 of 5 inspections")
    assert judge_trial(tally("OEEEE"), Record(outcomes="OOOOE"), SETTINGS) == ""


def test_a_slower_bundle_is_named_once_there_are_enough_frames() -> None:
    old = Record(outcomes="O" * 100, latency_ms=10.0)
    assert judge_trial(tally("O" * 10, 40.0), old, SETTINGS) == ""
    assert judge_trial(tally("O" * 64, 14.0), old, SETTINGS) == ""
    assert judge_trial(tally("O" * 64, 16.0), old, SETTINGS).startswith("latency: median 16.0 ms, 10.0 ms before")


def test_frames_that_no_bundle_could_judge_do_not_count() -> None:
    made = Tally()
    for cause in LostCause:
        made.add(replace(inspection(), verdict=Verdict.UNKNOWN, lost_cause=cause))
    assert made.record().outcomes == "U"  # the queue was full: a slow bundle's own fault


def test_a_record_is_bounded_and_goes_on_after_a_restart() -> None:
    made = tally("O" * 3000)
    assert len(made.record().outcomes) == KEPT_FRAMES
    again = Tally(made.record())
    again.add_error()
    assert again.record().outcomes.endswith("OOE")
    assert again.record().latency_ms == 10.0


def test_a_bundle_that_is_no_worse_is_hardly_ever_sent_back() -> None:
    """All looks of 300 probations at the same rate and no rise allowed: the rule keeps its promise of one in 200."""
    rng, strict = random.Random(0), SlotSettings(max_nok_rise=0.0)
    sent_back = 0
    for _ in range(300):
        old, new = ("".join("ON"[rng.random() < 0.1] for _ in range(256)) for _ in range(2))
        looks = (n for n in range(1, 257) if is_look(n))
        sent_back += any(least_rise(new[:n].count("N"), n, old[-n:].count("N"), n) > strict.max_nok_rise for n in looks)
    assert sent_back <= 4
