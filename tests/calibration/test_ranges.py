"""Histograms forget nothing while they grow, and each method clips what it says it clips."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jetspect.calibration.ranges import BINS, LEVELS, METHODS, Histogram, Method, clip_at, measure_ranges
from jetspect.errors import CalibrationError

F32 = npt.NDArray[np.float32]
arrays = hnp.arrays(np.float32, st.integers(1, 40), elements=st.floats(width=32, allow_nan=False, allow_infinity=False))


def counted(*parts: npt.ArrayLike, bins: int = BINS) -> Histogram:
    histogram = Histogram(bins)
    for part in parts:
        histogram.add(np.asarray(part, np.float32))
    return histogram


def bell(count: int = 100_000, seed: int = 0) -> F32:
    return np.random.default_rng(seed).normal(0, 1, count).astype(np.float32)


def squared_error(values: F32, limit: float) -> float:
    """What symmetric int8 costs, by quantising every value."""
    scale = limit / LEVELS
    wide = values.astype(np.float64)
    return float(((wide - np.clip(np.rint(wide / scale), -LEVELS, LEVELS) * scale) ** 2).sum())


@settings(max_examples=150)
@given(st.lists(arrays, min_size=1, max_size=5))
def test_every_value_is_counted_once_and_the_extremes_are_exact(parts: list[F32]) -> None:
    histogram, everything = counted(*parts), np.concatenate(parts)
    assert histogram.counts.sum() == everything.size
    assert (histogram.lowest, histogram.highest) == (everything.min(), everything.max())
    assert histogram.largest == clip_at(histogram, "min-max") == np.abs(everything).max()


@settings(max_examples=60)
@given(arrays.filter(lambda a: bool(np.abs(a).max() > 1e-30)), st.sampled_from(METHODS))
def test_no_method_clips_beyond_the_largest_magnitude(values: F32, method: Method) -> None:
    assert 0 < clip_at(counted(values), method) <= np.abs(values).max()


def test_a_larger_value_doubles_the_reach_and_two_bins_become_one() -> None:
    histogram = counted([-0.9, -0.3, 0.1, 0.6], bins=8)
    assert histogram.reach == 1
    assert histogram.counts.tolist() == [1, 0, 1, 0, 1, 0, 1, 0]
    histogram.add(np.array([3.5], np.float32))
    assert histogram.reach == 4
    assert histogram.counts.tolist() == [0, 0, 0, 2, 2, 0, 0, 1]


def test_the_order_in_which_values_come_does_not_matter() -> None:
    parts = [bell(5000, seed) * 7**seed for seed in range(4)]
    grown, at_once = counted(*parts), counted(np.concatenate(parts))
    assert grown.reach == at_once.reach
    assert np.array_equal(grown.counts, at_once.counts)


def test_memory_does_not_grow_with_what_is_added() -> None:
    histogram = counted([1.0])
    before = histogram.counts.nbytes
    for power in range(0, 30, 3):
        histogram.add(bell(1000) * np.float32(2**power))
    assert histogram.counts.nbytes == before == BINS * 8


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused_and_leaves_no_trace(value: float) -> None:
    histogram = counted([1.0, -2.0])
    with pytest.raises(ValueError, match="NaN or infinite"):
        histogram.add(np.array([0.5, value, 7.0], np.float32))
    assert (histogram.counts.sum(), histogram.lowest, histogram.highest) == (2, -2, 1)


def test_zeros_that_come_first_are_counted_too() -> None:
    """A layer may be silent on the first crops; a percentile counts them."""
    late = counted(np.zeros(300), [0.5, -1.5])
    assert np.array_equal(late.counts, counted([0.5, -1.5], np.zeros(300)).counts)
    assert counted(np.zeros(5)).largest == 0


def test_magnitudes_fold_both_sides() -> None:
    counts, middles = counted([-3.9, -0.1, 0.1, 0.2, 2.5], bins=8).magnitudes()
    assert counts.tolist() == [3, 0, 1, 1]
    assert middles.tolist() == [0.5, 1.5, 2.5, 3.5]


def test_the_percentile_is_that_of_the_values() -> None:
    values = bell()
    width = 2 * counted(values).reach / BINS
    assert clip_at(counted(values), "percentile") == pytest.approx(np.quantile(np.abs(values), 0.9999), abs=width)


def test_least_squares_clips_an_outlier_and_is_close_to_the_best_there_is() -> None:
    values = np.append(bell(200_000), np.float32(10))
    found = clip_at(counted(values), "mse")
    assert 3 < found < 6
    best = min(squared_error(values, limit) for limit in np.linspace(1, 10, 46))
    assert squared_error(values, found) < 0.6 * squared_error(values, clip_at(counted(values), "min-max"))
    assert squared_error(values, found) < 1.05 * best


def test_least_squares_keeps_an_outlier_that_costs_more_than_it_spoils() -> None:
    """Most values are small, but clipping the large ones would cost their whole square."""
    values = np.concatenate([bell(2000), np.full(500, 10, np.float32)])
    assert clip_at(counted(values), "mse") == pytest.approx(10, rel=0.02)


def test_entropy_clips_a_far_outlier_and_not_the_bell() -> None:
    values = np.append(bell(), np.float32(60))
    found = clip_at(counted(values), "entropy")
    assert 2.5 < found < 30


def test_entropy_does_not_look_at_the_zeros_behind_a_relu() -> None:
    values = np.maximum(bell(), 0)
    padded = np.append(values, np.zeros(10 * len(values), np.float32))
    assert clip_at(counted(padded), "entropy") == clip_at(counted(values), "entropy")


def test_a_range_is_clipped_on_both_sides_and_never_wider_than_what_was_seen() -> None:
    values = np.append(bell(), np.float32(-10))
    histograms = {"both": counted(values), "relu": counted(np.maximum(-values, 0))}
    for method in METHODS:
        ranges, limit = measure_ranges(histograms, method), clip_at(histograms["both"], method)
        assert ranges["both"] == (-limit, min(limit, float(values.max())))
        assert ranges["relu"][0] == 0 and 0 < ranges["relu"][1] <= 10
    assert measure_ranges(histograms, "min-max")["both"] == (-10, values.max())


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_an_activation_that_never_changes_is_named(value: float) -> None:
    histograms = {"good": counted([0.0, 1.0]), "dead": counted(np.full(9, value))}
    with pytest.raises(CalibrationError, match=f"activation 'dead' is {value:g} everywhere on all calibration tiles"):
        measure_ranges(histograms, "mse")
