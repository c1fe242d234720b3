"""Stage one of a two-stage model: find the part on the shrunken frame, so that stage two looks at nothing else.

d-fine (Sheet Metal 2023): a first network masks the part, a second one looks for damage inside that mask only. Here the mask
stays as coarse as stage one saw the frame: one block per ``scale`` x ``scale`` frame pixels. Which tiles hold part is read off
the blocks, and the mask at full resolution is only ever made for tiles on the part's outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from jetspect.errors import EngineError, InputError
from jetspect.runtime.engines.base import Engine
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.manifest import ForegroundSpec, Manifest
from jetspect.runtime.postprocess.reference import level_of
from jetspect.runtime.settings import Settings
from jetspect.runtime.tiling import TileGrid, round_up

U8 = npt.NDArray[np.uint8]


class ForegroundSettings(Settings):
    """``[foreground]`` of a station file: what this station changes about a two-stage bundle's first stage."""

    enabled: bool = Field(True, description="false runs stage two on the whole frame, to see what stage one hides")
    min_foreground: float | None = Field(
        None, gt=0, le=1, description="Share of the region that must show the part; None takes the bundle's"
    )
    margin_px: int | None = Field(
        None, ge=0, le=4096, description="The part is grown by at least this many frame px; None takes the bundle's"
    )


@dataclass(frozen=True, eq=False)
class ForegroundMask:
    """Where the part is in one frame.

    Attributes
    ----------
    part
        uint8 h x w of 0 and 255, one block per ``scale`` x ``scale`` frame px; where the frame's size is no multiple of
        that, the last row and column of blocks reach to its edge.
    grown
        The same with the margin: what is inspected.
    """

    part: U8
    grown: U8
    scale: int
    frame_hw: tuple[int, int]

    def covers(self, place: tuple[slice, slice]) -> bool:
        """Whether a whole rectangle of the frame lies on the grown part."""
        (top, bottom), (left, right) = (
            blocks_of(s, self.scale, n) for s, n in zip(place, self.grown.shape, strict=True)
        )
        return bool(self.grown[top:bottom, left:right].all())

    def cut(self, place: tuple[slice, slice]) -> U8:
        """Return the grown mask of a rectangle of the frame at full resolution, uint8 of 0 and 255."""
        rows, columns = place
        (top, bottom), (left, right) = (
            blocks_of(s, self.scale, n) for s, n in zip(place, self.grown.shape, strict=True)
        )
        size = ((right - left) * self.scale, (bottom - top) * self.scale)
        fine = cv2.resize(self.grown[top:bottom, left:right], size, interpolation=cv2.INTER_NEAREST)
        y, x = rows.start - top * self.scale, columns.start - left * self.scale
        below, beyond = (max(0, stop - n) for stop, n in zip(self._stops(y, x, place), fine.shape, strict=True))
        if below or beyond:
            fine = cv2.copyMakeBorder(fine, 0, below, 0, beyond, cv2.BORDER_REPLICATE)
        cut: U8 = np.asarray(fine, np.uint8)[y : y + rows.stop - rows.start, x : x + columns.stop - columns.start]
        return cut

    def full(self) -> U8:
        """Return the grown mask of the whole frame, uint8 H x W of 0 and 255."""
        return self.cut((slice(0, self.frame_hw[0]), slice(0, self.frame_hw[1])))

    @staticmethod
    def _stops(y: int, x: int, place: tuple[slice, slice]) -> tuple[int, int]:
        return y + place[0].stop - place[0].start, x + place[1].stop - place[1].start


def blocks_of(pixels: slice, scale: int, blocks: int) -> tuple[int, int]:
    """Return the half-open range of blocks along one axis that a range of frame pixels touches."""
    return min(pixels.start // scale, blocks - 1), min((pixels.stop - 1) // scale, blocks - 1) + 1


def shrink(image: U8, scale: int) -> U8:
    """Shrink a frame by the mean of ``scale`` x ``scale`` px; what is left over at the right and bottom is left out.

    A frame smaller than one such square becomes one pixel.
    """
    height, width = (max(1, n // scale) for n in image.shape[:2])
    whole = image[: height * scale, : width * scale]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class ForegroundFinder:
    """Finds the part in frames. Not thread-safe: one finder per thread. Does not close the engine."""

    def __init__(self, spec: ForegroundSpec, engine: Engine, settings: ForegroundSettings | None = None) -> None:
        settings = settings or ForegroundSettings()
        self._spec, self._engine = spec, engine
        self._level = level_of(spec.threshold)
        margin = spec.margin_px if settings.margin_px is None else settings.margin_px
        reach = -(-margin // spec.scale)
        self._kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8) if reach else None
        self.min_foreground = spec.min_foreground if settings.min_foreground is None else settings.min_foreground
        self._input = np.empty((0, 0, 0, 0), np.uint8)

    def find(self, image: U8) -> ForegroundMask:
        """Run stage one on a frame, uint8 H x W x 3 (BGR) or H x W.

        Raises
        ------
        EngineError
            The engine fails, or answers in another size.
        """
        small = _to_channels(shrink(image, self._spec.scale), self._spec.input.channels)
        height, width = small.shape[:2]
        stride = self._spec.stride_px
        padded = cv2.copyMakeBorder(small, 0, -height % stride, 0, -width % stride, cv2.BORDER_REFLECT_101)
        shape = (1, round_up(height, stride), round_up(width, stride), self._spec.input.channels)
        if self._input.shape != shape:
            self._input = np.empty(shape, np.uint8)
        self._input[0] = padded.reshape(shape[1:])
        scores = self._engine.run(self._input)
        if scores.shape != (1, 1, *shape[1:3]):
            raise EngineError(f"{self._engine.info} answers {scores.shape} for a shrunken frame {shape}; export again")
        seen = np.ascontiguousarray(scores[0, 0, :height, :width])
        part = np.asarray(cv2.threshold(seen, self._level - 1, 255, cv2.THRESH_BINARY)[1], np.uint8)
        grown = part if self._kernel is None else np.asarray(cv2.dilate(part, self._kernel), np.uint8)
        return ForegroundMask(part, grown, self._spec.scale, (image.shape[0], image.shape[1]))


def open_finder(manifest: Manifest, engine: Engine, settings: ForegroundSettings) -> ForegroundFinder | None:
    """Return the finder of a two-stage bundle; None for one stage, or where the station switched stage one off.

    Raises
    ------
    InputError
        Settings for a stage one that the bundle does not have, or an engine that came without it.
    """
    spec = manifest.foreground
    if spec is None:
        if settings != ForegroundSettings():
            raise InputError(
                f"bundle {manifest.name} has one stage; remove the foreground settings or use another bundle"
            )
        return None
    if not settings.enabled:
        return None
    if not isinstance(engine, StagedEngine):
        raise InputError(f"bundle {manifest.name} has two stages, its engine only one; open it with open_engine()")
    return ForegroundFinder(spec, engine.foreground, settings)


class ForegroundGate:
    """Chooses the tiles of one grid that hold part. Bounds are worked out once; a frame costs one integral image.

    Parameters
    ----------
    region
        H x W of 0 and 255: the station's region of interest, or None.
    whole_tiles
        Look at whole tiles instead of their cores, for blended models, where a pixel needs every tile that reaches it.
    """

    def __init__(self, grid: TileGrid, region: U8 | None, scale: int, *, whole_tiles: bool = False) -> None:
        height, width = grid.frame_hw
        self._shape = max(1, height // scale), max(1, width // scale)
        self._region = None if region is None else _blocks_with(region, self._shape, scale)
        places = []
        for tile in grid.tiles:
            place = tile.core
            if whole_tiles:
                y, x = tile.y.origin, tile.x.origin
                place = slice(y, min(y + grid.tile_hw[0], height)), slice(x, min(x + grid.tile_hw[1], width))
            places.append([b for s, n in zip(place, self._shape, strict=True) for b in blocks_of(s, scale, n)])
        self._bounds = np.array(places, np.intp).reshape(-1, 4).T

    def share(self, mask: ForegroundMask) -> float:
        """Return how much of the region (without one: of the frame) shows the part, margin not counted; 0-1."""
        if self._region is None:
            return float(np.count_nonzero(mask.part)) / mask.part.size
        return float(np.count_nonzero(mask.part & self._region)) / float(np.count_nonzero(self._region))

    def choose(self, mask: ForegroundMask) -> npt.NDArray[np.bool_]:
        """Say for every tile of the grid whether stage two has something to look at there."""
        if mask.grown.shape != self._shape:
            raise InputError(f"a foreground of {mask.grown.shape} blocks does not fit the frame's {self._shape}")
        inside = mask.grown if self._region is None else mask.grown & self._region
        count = cv2.integral(inside >> 7)
        top, bottom, left, right = self._bounds
        held: npt.NDArray[np.bool_] = (
            count[bottom, right] - count[top, right] - count[bottom, left] + count[top, left] > 0
        )
        return held


def _blocks_with(region: U8, shape: tuple[int, int], scale: int) -> U8:
    """Return the blocks that hold any of a region, uint8 of 0 and 255."""
    rows = np.maximum.reduceat(region, np.arange(shape[0]) * scale, axis=0)
    return np.maximum.reduceat(rows, np.arange(shape[1]) * scale, axis=1)


def _to_channels(image: U8, channels: int) -> U8:
    if image.ndim == 2 and channels == 3:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    if image.ndim == 3 and channels == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    return image
