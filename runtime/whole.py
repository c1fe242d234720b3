"""Frame -> score map for models that cannot be tiled: the frame is resized to what the graph takes and seen at once.

What pools over the whole picture (a decision) gives another answer on tiles, so a station cannot cut such a frame.
"""

from __future__ import annotations

from itertools import pairwise
from time import perf_counter_ns

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import EngineError, InputError
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.foreground import ForegroundMask
from jetspect.runtime.manifest import Manifest
from jetspect.runtime.postprocess.reference import Box, level_of
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import Scores
from jetspect.runtime.tiling import Cut, Tile, TileGrid

U8 = npt.NDArray[np.uint8]


def resize(image: U8, size_wh: tuple[int, int]) -> U8:
    """Resize uint8 H x W or H x W x C: by area along an axis that shrinks, linearly along one that grows."""
    height, width = image.shape[:2]
    small = min(width, size_wh[0]), min(height, size_wh[1])
    if small != (width, height):
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    if small != tuple(size_wh):
        image = cv2.resize(image, size_wh, interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
    return image


def fit_frame(image: U8, size_wh: tuple[int, int], channels: int) -> U8:
    """Return a frame as a model of 1 or 3 channels sees it, uint8 H x W x C of the size asked for.

    Training resizes with :func:`resize` too, so that both see the same picture.
    """
    fitted = resize(image, size_wh)
    if fitted.ndim == 3 and channels == 1:
        fitted = cv2.cvtColor(fitted, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
    elif fitted.ndim == 2 and channels == 3:
        fitted = cv2.cvtColor(fitted, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    return np.ascontiguousarray(fitted.reshape(*fitted.shape[:2], channels))


class WholeMapper:
    """Scores frames with one run each. Not thread-safe; the score map is reused from frame to frame.

    Raises
    ------
    InputError
        The station asks for tiles or a region, which such a model cannot have.
    """

    def __init__(self, manifest: Manifest, engine: Engine, settings: TilingSettings) -> None:
        if manifest.tiling.frame_wh is None:
            raise InputError(f"bundle {manifest.name} has no frame size; it is tiled")
        self._frame_wh = manifest.tiling.frame_wh
        _refuse_tiles(manifest.name, self._frame_wh, settings)
        self._channels = manifest.input.channels
        self._low = [level_of(c.threshold_low) for c in manifest.output.classes]
        self._decides = manifest.output.decision is not None
        self._engine = engine
        self._score_map = np.zeros((len(self._low), 0, 0), np.uint8)
        self.tile_px = manifest.tiling.tile_px

    def prepare(self, frame_hw: tuple[int, int]) -> None:
        """Make room for frames of a size."""
        if self._score_map.shape[1:] != frame_hw:
            self._score_map = np.zeros((len(self._low), *frame_hw), np.uint8)

    def share(self, mask: ForegroundMask) -> float:
        """Return how much of the frame shows the part, 0-1."""
        return float(np.mean(mask.grown > 0))

    def score(self, image: U8, mask: ForegroundMask | None = None) -> Scores:
        """Score one frame, uint8 H x W x 3 (BGR) or H x W, located in its own pixels; with the decision if there is one.

        A manifest of whole frames has no stage one, so no mask comes.
        """
        frame_hw = image.shape[0], image.shape[1]
        self.prepare(frame_hw)
        times = [perf_counter_ns()]
        fitted = fit_frame(image, self._frame_wh, self._channels)
        times.append(perf_counter_ns())
        scores = self._engine.run(fitted[None])[0]
        decisions = self._engine.decisions if self._decides else None
        if self._decides and decisions is None:
            raise EngineError(f"{self._engine.info} returns no decision, though the bundle has one; export it again")
        times.append(perf_counter_ns())
        hot: list[tuple[Box, ...]] = []
        for k, low in enumerate(self._low):
            self._score_map[k] = resize(scores[k], (frame_hw[1], frame_hw[0]))
            hot.append(((0, 0, *frame_hw),) if self._score_map[k].max() >= low else ())
        times.append(perf_counter_ns())
        gather_ms, engine_ms, scatter_ms = ((b - a) / 1e6 for a, b in pairwise(times))
        decision = None if decisions is None else int(decisions[0, 0]) / 255
        grid = _one_tile(frame_hw, self._frame_wh)
        return Scores(self._score_map, tuple(hot), grid, gather_ms, engine_ms, scatter_ms, decision)


def _one_tile(frame_hw: tuple[int, int], frame_wh: tuple[int, int]) -> TileGrid:
    height, width = frame_hw
    tile = Tile(Cut(0, 0, height), Cut(0, 0, width))
    return TileGrid(frame_hw, (frame_wh[1], frame_wh[0]), frame_hw, 0, (tile,))


def _refuse_tiles(name: str, frame_wh: tuple[int, int], settings: TilingSettings) -> None:
    sees = f"bundle {name} sees the whole frame at once, resized to {frame_wh[0]} x {frame_wh[1]} px"
    if settings.tile_px is not None:
        raise InputError(f"{sees}; it cannot run in tiles of {settings.tile_px} px: leave tiling.tile_px out")
    if settings.batch != 1:
        raise InputError(f"{sees}; there is one run per frame, not a batch of {settings.batch}: leave tiling.batch out")
    if settings.roi_xyxy is not None or settings.roi_mask is not None:
        given = "tiling.roi_xyxy" if settings.roi_xyxy is not None else "tiling.roi_mask"
        raise InputError(
            f"{sees}, and what lies outside a region would still weigh in its answer: leave {given} out and frame the part "
            "with the camera"
        )
