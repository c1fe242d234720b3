"""How long each stage of a frame takes: histograms with fixed bounds, cheap enough for every frame.

The bounds are the same for all stages and stations, so that those of a plant can be added up. They are closest between 5 ms
and 5 s, where frames of embedded devices lie; below are the small stages, above an outage of disk or broker.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from math import inf

from jetspect.runtime.results import Timings

BOUNDS_MS = (
    *(0.1, 0.5, 1.0, 2.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 75.0),
    *(100.0, 150.0, 200.0, 300.0, 500.0, 750.0, 1000.0, 1500.0, 2000.0, 3000.0, 5000.0, 10000.0, 60000.0),
)
"""Upper bounds, inclusive; above the last one stands a bucket without a bound."""

INSPECTION_STAGES = ("checks", "foreground", "gather", "engine", "scatter", "postprocess", "verdict", "total")
STAGES = (*INSPECTION_STAGES, "record", "deliver")
"""Those of an inspection; record: until the result is on the disk; deliver: from the verdict to the broker's PUBACK."""


@dataclass(frozen=True)
class Histogram:
    """What a stage took so far. ``buckets`` has one count for each bound and one for everything above."""

    buckets: tuple[int, ...] = (0,) * (len(BOUNDS_MS) + 1)
    sum_ms: float = 0.0
    max_ms: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def cumulative(self) -> tuple[int, ...]:
        """How many were at or below each bound, and at last all of them."""
        return tuple(accumulate(self.buckets))

    def quantile_ms(self, q: float) -> float | None:
        """Estimate a quantile as Prometheus does, evenly spread within its bucket, but never above the largest time seen.

        None without an observation.
        """
        if not self.count:
            return None
        rank, below = q * self.count, 0
        bounds = (0.0, *BOUNDS_MS, self.max_ms)
        for index, inside in enumerate(self.buckets):
            if inside and below + inside >= rank:
                low, high = bounds[index], bounds[index + 1]
                return min(self.max_ms, low + (high - low) * (rank - below) / inside)
            below += inside
        return self.max_ms


class StageTimes:
    """Collects times per stage. The caller holds a lock where several threads write or read."""

    def __init__(self) -> None:
        self._buckets = {stage: [0] * (len(BOUNDS_MS) + 1) for stage in STAGES}
        self._sum_ms = dict.fromkeys(STAGES, 0.0)
        self._max_ms = dict.fromkeys(STAGES, 0.0)

    def add(self, stage: str, time_ms: float) -> None:
        """Count one time. Nothing that is no time: a stage that did not run has 0."""
        if 0.0 < time_ms < inf:
            self._buckets[stage][bisect_left(BOUNDS_MS, time_ms)] += 1
            self._sum_ms[stage] += time_ms
            if time_ms > self._max_ms[stage]:
                self._max_ms[stage] = time_ms

    def add_timings(self, timings: Timings) -> None:
        """Count the stages of one inspection that ran."""
        for stage in INSPECTION_STAGES:
            self.add(stage, getattr(timings, _FIELD[stage]))

    def histograms(self) -> Mapping[str, Histogram]:
        return {
            stage: Histogram(tuple(counts), self._sum_ms[stage], self._max_ms[stage])
            for stage, counts in self._buckets.items()
        }


_FIELD = {stage: f"{stage}_ms" for stage in INSPECTION_STAGES}
