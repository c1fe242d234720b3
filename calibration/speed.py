"""Which of several graphs is faster here: run in turn on the same tile, so that a busy machine slows all of them alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from jetspect.runtime.engines.base import Engine

WARM_UP = 3


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one run: median and quartiles of ``runs``."""

    median_ms: float
    low_ms: float
    high_ms: float
    runs: int
    samples_ms: tuple[float, ...] = ()


def compare(engines: Mapping[str, Engine], tiles: npt.NDArray[np.uint8], *, runs: int = 30) -> dict[str, Latency]:
    """Time engines on tiles uint8 N x T x T x C, one run of each in turn."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    for turn in range(WARM_UP + runs):
        for name, engine in engines.items():
            start = perf_counter_ns()
            engine.run(tiles)
            if turn >= WARM_UP:
                times[name].append((perf_counter_ns() - start) / 1e6)
    found = {name: np.percentile(spent, (50, 25, 75)) for name, spent in times.items()}
    return {n: Latency(float(q[0]), float(q[1]), float(q[2]), runs, tuple(times[n])) for n, q in found.items()}
