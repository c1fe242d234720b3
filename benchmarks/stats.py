"""Numbers for reports: percentiles of stages, and the machine they were measured on."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STAGES = ("checks", "foreground", "gather", "engine", "scatter", "postprocess", "verdict", "total")


@dataclass(frozen=True)
class Stage:
    """Percentiles of one stage in milliseconds, and its share of the total time."""

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    share: float


def stages(timings: Sequence[dict[str, float]]) -> list[Stage]:
    """Summarise the ``timings_ms`` of results. Percentiles interpolate; with few frames p99 is close to the slowest."""
    total = sum(t["total"] for t in timings)
    rows = []
    for name in STAGES:
        values = [t.get(name, 0.0) for t in timings]
        if name == "foreground" and not any(values):
            continue  # a model of one stage
        p50, p95, p99 = (float(v) for v in np.percentile(values, (50, 95, 99)))
        rows.append(Stage(name, p50, p95, p99, sum(values) / total if total else 0.0))
    return rows


def outside_engine(timings: Sequence[dict[str, float]]) -> float:
    """Time outside the engine divided by the engine's time, over all frames."""
    engine = sum(t["engine"] for t in timings)
    return (sum(t["total"] for t in timings) - engine) / engine if engine else 0.0


def peak_memory_mb() -> float:
    """Largest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def load_average() -> float:
    """What else ran: the mean number of busy threads over the last minute, ours included."""
    return os.getloadavg()[0]
