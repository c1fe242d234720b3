"""What all peers are given: one engine, one tile size, one frame. What they return: a score map of the whole frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.engines.base import U8, Engine, EngineInfo
from jetspect.runtime.manifest import Manifest

Scores = npt.NDArray[Any]


class CountingEngine:
    """An open engine that counts the tiles it is given and the time it takes. Closing it does not close the engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tiles, self.spent_ms = 0, 0.0

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    @property
    def dynamic(self) -> bool:
        return self._engine.dynamic

    @property
    def decisions(self) -> U8 | None:
        return self._engine.decisions

    def run(self, tiles: U8) -> U8:
        start = perf_counter_ns()
        scores = self._engine.run(tiles)
        self.spent_ms += (perf_counter_ns() - start) / 1e6
        self.tiles += len(tiles)
        return scores

    def reset(self) -> None:
        self.tiles, self.spent_ms = 0, 0.0

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> CountingEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, eq=False)
class Job:
    """The same for every peer; ``manifest`` has the thresholds of the graph that runs."""

    manifest: Manifest
    engine: CountingEngine
    tile_px: int

    @property
    def halo_px(self) -> int:
        return self.manifest.tiling.halo_px

    @property
    def classes(self) -> int:
        return len(self.manifest.output.classes)

    @property
    def exact_overlap(self) -> float:
        """The overlap at which neighbours share two halos, as a share of the tile."""
        return 2 * self.halo_px / self.tile_px

    def overlaps(self, *usual: float) -> list[float]:
        """Return overlaps to try: a peer's usual ones, and two halos."""
        return sorted({*usual, self.exact_overlap})


@dataclass(frozen=True, eq=False)
class Contender:
    """One peer at one setting.

    ``score`` takes a frame, uint8 H x W x C, and returns K x H x W of any type on the scale 0-255, valid until the next call.
    """

    peer: str
    settings: str
    score: Callable[[U8], Scores]

    @property
    def name(self) -> str:
        return f"{self.peer}, {self.settings}" if self.settings else self.peer


def as_levels(scores: Scores) -> U8:
    """Return scores on the scale 0-255 as uint8, rounded to the nearest."""
    if scores.dtype == np.uint8:
        return scores
    return np.clip(scores + 0.5, 0, 255).astype(np.uint8)


def as_model(job: Job, image: U8) -> U8:
    """Return a colour frame as uint8 H x W x C of the model's channels."""
    if job.manifest.input.channels == 3:
        return image
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)[:, :, None]
