"""Frame -> components on the GPU: nothing comes back but a small table and the bitmaps of defects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jetspect.runtime.detector import Detection
from jetspect.runtime.engines.base import DeviceEngine
from jetspect.runtime.foreground import ForegroundMask
from jetspect.runtime.manifest import Manifest
from jetspect.runtime.postprocess.cuda import ComponentFinder
from jetspect.runtime.postprocess.reference import Component, largest
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring_cuda import CudaMapper

U8 = npt.NDArray[np.uint8]


class CudaDetector:
    """Finds defects with an engine on a CUDA device. Not thread-safe: one thread makes all calls.

    Raises
    ------
    InputError
        As :class:`jetspect.runtime.scoring_cuda.CudaMapper`.
    """

    def __init__(
        self, manifest: Manifest, engine: DeviceEngine, settings: TilingSettings, pixel_area_mm2: float | None = None
    ) -> None:
        classes = len(manifest.output.classes)
        self._mapper = CudaMapper(manifest.tiling, manifest.input.channels, classes, engine, settings)
        self._cuda, self._output, self._pixel_area = engine.cuda, manifest.output, pixel_area_mm2
        self._finder: ComponentFinder | None = None
        self._finder_hw = (0, 0)

    @property
    def tile_px(self) -> int:
        return self._mapper.tile_px

    def prepare(self, frame_hw: tuple[int, int]) -> None:
        self._mapper.prepare(frame_hw)
        self._finder_for(frame_hw)

    def share(self, mask: ForegroundMask) -> float:
        return self._mapper.share(mask)

    def host_frame(self, shape: tuple[int, ...]) -> U8:
        """Return memory from which a frame of this shape reaches the device fastest; see the mapper."""
        return self._mapper.host_frame(shape)

    def detect(self, image: U8, mask: ForegroundMask | None = None, *, limit: int | None = None) -> Detection:
        with self._cuda.current():
            return self._detect(image, mask, limit)

    def score_map(self) -> U8:
        return self._mapper.download()

    def close(self) -> None:
        """Give the memory back; the engine stays open."""
        try:
            self._mapper.close()
        finally:
            if self._finder is not None:
                self._finder.close()
                self._finder = None

    def _detect(self, image: U8, mask: ForegroundMask | None, limit: int | None) -> Detection:
        grid, stages = self._mapper.score(image, mask)
        finder = self._finder_for(grid.frame_hw)
        found: list[Component] = []
        dropped = 0
        start = self._cuda.mark()
        for k in range(len(self._output.classes)):
            plane = self._mapper.map.at(k * self._mapper.plane_bytes)
            of_class, more = finder.find(plane, k, self._output, pixel_area_mm2=self._pixel_area, limit=limit)
            found += of_class
            dropped += more
        components = largest(found, limit)
        end = self._cuda.mark()
        find_ms = end.ms_since(start)
        upload_ms, gather_ms, engine_ms, scatter_ms = stages.spent_ms()
        dropped += len(found) - len(components)
        return Detection(components, dropped, grid, upload_ms + gather_ms, engine_ms, scatter_ms, find_ms)

    def _finder_for(self, frame_hw: tuple[int, int]) -> ComponentFinder:
        if self._finder is None or self._finder_hw != frame_hw:
            if self._finder is not None:
                self._finder.close()
                self._finder = None
            self._finder, self._finder_hw = ComponentFinder(self._cuda, frame_hw), frame_hw
        return self._finder
