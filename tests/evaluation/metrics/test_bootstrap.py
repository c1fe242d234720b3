"""Intervals by resampling: known widths, whole groups, and the same numbers for the same seed."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.errors import InputError
from jetspect.evaluation.metrics import bootstrap

F64 = npt.NDArray[np.float64]


def mean_of(values: F64) -> object:
    return lambda w: {"mean": float(w @ values / w.sum())}


def test_the_interval_of_a_mean_is_the_textbook_s() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap(mean_of(values), [str(n) for n in range(400)])["mean"]  # type: ignore[arg-type]
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05) and high == pytest.approx(
        values.mean() + half, abs=0.05
    )


def test_images_of_one_group_go_together_and_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    values = np.repeat(rng.normal(0, 1, 40), 10)  # ten photographs of each part, all alike
    alone = bootstrap(mean_of(values), [str(n) for n in range(400)])["mean"]  # type: ignore[arg-type]
    grouped = bootstrap(mean_of(values), [str(n // 10) for n in range(400)])["mean"]  # type: ignore[arg-type]
    assert grouped[1] - grouped[0] > 2.5 * (alone[1] - alone[0])


def test_the_seed_decides_and_undefined_measures_have_no_interval() -> None:
    def measure(w: F64) -> dict[str, float]:
        return {"a": float(w[0]), "rare": math.nan if w[0] < 3 else 1.0}

    groups = ["x", "y", "z"]
    assert bootstrap(measure, groups, seed=4)["a"] == bootstrap(measure, groups, seed=4)["a"]
    assert all(math.isnan(v) for v in bootstrap(measure, groups)["rare"])
    with pytest.raises(InputError, match="intervals need images"):
        bootstrap(measure, [])


def test_one_group_alone_says_nothing_about_others() -> None:
    found = bootstrap(lambda w: {"mean": float(w.mean())}, ["a", "a", "a"], resamples=100)
    assert all(math.isnan(end) for end in found["mean"])
