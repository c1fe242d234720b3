"""Timing several ways to do one job so that a busy machine slows all of them alike, and ratios that say how sure they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TypeVar

import numpy as np

from jetspect.errors import InputError
from jetspect.evaluation.metrics import bootstrap

Given = TypeVar("Given")
Times = dict[str, list[float]]


@dataclass(frozen=True)
class Ratio:
    """How many times one took what the other took: geometric mean over rounds, with its 95 % interval.

    ``low`` and ``high`` are None where there was one round only, which says nothing about others.
    """

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.2f} x"
        return f"{self.value:.2f} x ({self.low:.2f} to {self.high:.2f})"


def interleave(
    ways: Mapping[str, Callable[[Given], object]],
    given: Iterable[Given],
    *,
    warm_up: int = 1,
    seed: int = 0,
    told: Callable[[], object] = lambda: None,
) -> Times:
    """Return the milliseconds of every way in every round; a round runs each once, in an order of its own.

    Parameters
    ----------
    given
        What each round works on; the first ``warm_up`` rounds are not counted.
    told
        Called after every run.
    """
    rng = np.random.default_rng(seed)
    times: Times = {name: [] for name in ways}
    names = list(ways)
    for number, item in enumerate(given):
        for index in rng.permutation(len(names)):
            name = names[index]
            start = perf_counter_ns()
            ways[name](item)
            spent = (perf_counter_ns() - start) / 1e6
            if number >= warm_up:
                times[name].append(spent)
            told()
    return times


def ratio(slower_ms: Sequence[float], faster_ms: Sequence[float]) -> Ratio:
    """Compare two ways by the rounds they shared; above 1 where the first one took longer.

    Raises
    ------
    InputError
        No round, or not the same rounds.
    """
    if not slower_ms or len(slower_ms) != len(faster_ms):
        raise InputError(f"a ratio needs the same rounds of both, got {len(slower_ms)} and {len(faster_ms)}")
    logs = np.log(np.asarray(slower_ms) / np.asarray(faster_ms))
    groups = [str(i) for i in range(len(logs))]
    low, high = bootstrap(lambda w: {"log": float(w @ logs / w.sum())}, groups)["log"]
    ends = (None, None) if math.isnan(low) else (math.exp(low), math.exp(high))
    return Ratio(math.exp(float(logs.mean())), *ends)
