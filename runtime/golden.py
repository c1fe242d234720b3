"""Prove an engine on the golden tiles before it may judge a part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetspect.errors import EngineError, GoldenMismatchError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.manifest import Precision


@dataclass(frozen=True)
class GoldenReport:
    """How far an engine's scores are from the golden ones, in steps of 1/255."""

    tiles: int
    max_levels: int
    mean_levels: float

    def __str__(self) -> str:
        return f"{self.tiles} golden tiles reproduced within {self.max_levels} of 255 levels"


def check_golden(engine: Engine, bundle: Bundle, precision: Precision) -> GoldenReport:
    """Run the golden tiles one by one and compare with the FP32 answers in the bundle.

    Raises
    ------
    GoldenMismatchError
        A tile differs by more than the tolerance that the bundle states for this precision.
    """
    golden = bundle.golden()
    tolerance = bundle.manifest.graphs[precision].tolerance
    worst, worst_mean = 0, 0.0
    for index in range(len(golden.tiles)):
        scores = engine.run(np.ascontiguousarray(golden.tiles[index : index + 1]))
        expected = golden.scores[index : index + 1]
        if scores.shape != expected.shape:
            raise EngineError(
                f"{engine.info} returns scores {scores.shape} for a golden tile, expected {expected.shape}"
            )
        difference = np.abs(scores.astype(np.int16) - expected)
        largest, mean = int(difference.max()), float(difference.mean())
        if largest > tolerance.max_levels or mean > tolerance.mean_levels:
            raise GoldenMismatchError(
                f"{engine.info} does not reproduce golden tile {index} of {bundle.manifest.name}: off by up to {largest} "
                f"of 255 levels, mean {mean:.3f}; allowed are {tolerance.max_levels} and {tolerance.mean_levels:g}. "
                "It must not go live: rebuild the engine, or export the bundle again"
            )
        worst, worst_mean = max(worst, largest), max(worst_mean, mean)
    return GoldenReport(len(golden.tiles), worst, worst_mean)
