"""Frame -> components: the seam between the inspector and the machine that does the work."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from typing import Protocol

import numpy as np
import numpy.typing as npt

from jetspect.runtime.engines.base import DeviceEngine, Engine
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.foreground import ForegroundMask
from jetspect.runtime.manifest import Manifest, OutputContract
from jetspect.runtime.postprocess.reference import Component, find_components, largest
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import ScoreMapper
from jetspect.runtime.tiling import TileGrid
from jetspect.runtime.whole import WholeMapper

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Detection:
    """What was found in one frame, and how long each part of the search took.

    Attributes
    ----------
    components
        By class, then by first pixel in reading order.
    dropped
        How many more there are, smaller than those.
    decision
        Probability that the image shows a defect, in steps of 1/255; None for a model that does not say.
    """

    components: list[Component]
    dropped: int
    grid: TileGrid
    gather_ms: float
    engine_ms: float
    scatter_ms: float
    find_ms: float
    decision: float | None = None


class Detector(Protocol):
    """Finds defects in frames. Not thread-safe: one thread makes all calls."""

    @property
    def tile_px(self) -> int: ...

    def prepare(self, frame_hw: tuple[int, int]) -> None:
        """Lay out tiles and memory for frames of a size; refuses a region that does not fit it."""
        ...

    def share(self, mask: ForegroundMask) -> float:
        """Return how much of the region (without one: of the frame) shows the part, 0-1."""
        ...

    def detect(self, image: U8, mask: ForegroundMask | None = None, *, limit: int | None = None) -> Detection:
        """Search one frame, uint8 H x W x 3 (BGR) or H x W, within a foreground mask; describe the ``limit`` largest."""
        ...

    def score_map(self) -> U8:
        """Return the score map of the last frame, uint8 K x H x W, valid until the next one."""
        ...

    def close(self) -> None:
        """Give memory back; the engine stays open."""
        ...


class HostDetector:
    """Frames are cut, put together and searched on the processor, wherever the engine runs."""

    def __init__(
        self, mapper: ScoreMapper | WholeMapper, output: OutputContract, pixel_area_mm2: float | None = None
    ) -> None:
        self._mapper, self._output, self._pixel_area = mapper, output, pixel_area_mm2
        self._score_map = np.zeros((len(output.classes), 0, 0), np.uint8)

    @property
    def tile_px(self) -> int:
        return self._mapper.tile_px

    def prepare(self, frame_hw: tuple[int, int]) -> None:
        self._mapper.prepare(frame_hw)

    def share(self, mask: ForegroundMask) -> float:
        return self._mapper.share(mask)

    def detect(self, image: U8, mask: ForegroundMask | None = None, *, limit: int | None = None) -> Detection:
        scores = self._mapper.score(image, mask)
        self._score_map = scores.score_map
        start = perf_counter_ns()
        found = find_components(scores.score_map, self._output, hot=scores.hot, pixel_area_mm2=self._pixel_area)
        components = largest(found, limit)
        find_ms = (perf_counter_ns() - start) / 1e6
        return Detection(
            components=components,
            dropped=len(found) - len(components),
            grid=scores.grid,
            gather_ms=scores.gather_ms,
            engine_ms=scores.engine_ms,
            scatter_ms=scores.scatter_ms,
            find_ms=find_ms,
            decision=scores.decision,
        )

    def score_map(self) -> U8:
        return self._score_map

    def close(self) -> None:
        """Nothing to give back."""


def open_detector(
    manifest: Manifest, engine: Engine, settings: TilingSettings, pixel_area_mm2: float | None = None
) -> Detector:
    """Return what searches frames as the bundle's contract says, on the GPU where the engine is there.

    Raises
    ------
    InputError
        The station's tiling breaks the model's rules or is not what the engine was built for.
    """
    if manifest.tiling.mode == "whole":
        return HostDetector(WholeMapper(manifest, engine, settings), manifest.output, pixel_area_mm2)
    inner = engine.defects if isinstance(engine, StagedEngine) else engine
    if isinstance(inner, DeviceEngine):
        from jetspect.runtime.detector_cuda import CudaDetector

        return CudaDetector(manifest, inner, settings, pixel_area_mm2)
    return HostDetector(ScoreMapper(manifest, engine, settings), manifest.output, pixel_area_mm2)
