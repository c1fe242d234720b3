"""Times of stages: buckets as Prometheus counts them, quantiles that never say more than was seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetspect.runtime.results import Timings
from jetspect.runtime.telemetry.stages import BOUNDS_MS, STAGES, Histogram, StageTimes


def filled(times_ms: Sequence[float]) -> Histogram:
    times = StageTimes()
    for time_ms in times_ms:
        times.add("total", time_ms)
    return times.histograms()["total"]


def test_without_a_time_there_is_no_quantile() -> None:
    assert Histogram() == filled([])
    assert filled([]).quantile_ms(0.5) is None


def test_a_time_on_a_bound_is_at_or_below_it_and_one_above_all_is_counted() -> None:
    at_or_below = dict(zip((*BOUNDS_MS, math.inf), filled([10.0, 10.0001, 1e9]).cumulative(), strict=True))
    assert (at_or_below[7.5], at_or_below[10.0], at_or_below[15.0], at_or_below[math.inf]) == (0, 1, 2, 3)


def test_bounds_grow_and_are_closest_where_frames_are() -> None:
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
    between = [b for b in BOUNDS_MS if 5 <= b <= 5000]
    assert between[0] == 5
    assert between[-1] == 5000
    assert all(high / low <= 2 for low, high in itertools.pairwise(between))


@pytest.mark.parametrize("no_time", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_what_is_no_time_is_not_counted(no_time: float) -> None:
    assert filled([no_time]) == Histogram()


def test_a_stage_that_did_not_run_is_not_counted() -> None:
    times = StageTimes()
    times.add_timings(Timings(checks_ms=0.3, total_ms=0.3))
    counted = {stage: h.count for stage, h in times.histograms().items()}
    assert counted == {stage: int(stage in ("checks", "total")) for stage in STAGES}


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(times_ms: list[float], q: float) -> None:
    made = filled(times_ms)
    true = sorted(times_ms)[max(0, math.ceil(q * len(times_ms)) - 1)]
    low = max((b for b in (0.0, *BOUNDS_MS) if b < true), default=0.0)
    high = min((b for b in BOUNDS_MS if b >= true), default=math.inf)
    said = made.quantile_ms(q)
    assert said is not None
    assert low <= said <= min(high, max(times_ms))
    assert made.count == len(times_ms)
    assert made.sum_ms == pytest.approx(sum(times_ms))
