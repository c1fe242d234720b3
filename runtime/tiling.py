"""Integer geometry of tiling: where tiles lie in a frame and which part of each is kept. Pure; no image is touched.

A tile of T x T px gives the network its context; only its core is kept. Cores partition the frame. A tile at the
frame's edge keeps its core up to that edge: the network sees the same border there as it would on the whole frame.
Origins are multiples of the network's stride, otherwise its sampling grid shifts and the result differs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError


@dataclass(frozen=True)
class Cut:
    """One tile along one axis: where it starts, and the half-open range of the frame that its core covers."""

    origin: int
    core_start: int
    core_stop: int


@dataclass(frozen=True)
class Tile:
    """One tile of a frame, in frame pixels."""

    y: Cut
    x: Cut

    @property
    def core(self) -> tuple[slice, slice]:
        """Rows and columns of the frame that this tile answers for."""
        return slice(self.y.core_start, self.y.core_stop), slice(self.x.core_start, self.x.core_stop)

    @property
    def crop(self) -> tuple[slice, slice]:
        """The same pixels inside the tile."""
        return (
            slice(self.y.core_start - self.y.origin, self.y.core_stop - self.y.origin),
            slice(self.x.core_start - self.x.origin, self.x.core_stop - self.x.origin),
        )


@dataclass(frozen=True)
class TileGrid:
    """All tiles of a frame, row by row.

    Attributes
    ----------
    tile_hw
        Height and width of every tile; smaller than asked for only where the frame, or all there is to inspect with its
        halo, is (``shrink``).
    padded_hw
        The frame's size rounded up to the stride; tiles may reach past the frame's right and bottom edge up to here.
    skipped
        Tiles left out because their core holds nothing to inspect.
    """

    frame_hw: tuple[int, int]
    tile_hw: tuple[int, int]
    padded_hw: tuple[int, int]
    halo_px: int
    tiles: tuple[Tile, ...]
    skipped: int = 0

    @property
    def pixel_factor(self) -> float:
        """Pixels that go through the network, divided by the pixels of the frame."""
        return len(self.tiles) * self.tile_hw[0] * self.tile_hw[1] / (self.frame_hw[0] * self.frame_hw[1])

    def only(self, wanted: Iterable[bool]) -> TileGrid:
        """Return the grid with one in or out per tile; those left out count as skipped."""
        tiles = tuple(compress(self.tiles, wanted))
        return replace(self, tiles=tiles, skipped=self.skipped + len(self.tiles) - len(tiles))


def round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def cut_axis(length: int, tile: int, halo: int, stride: int) -> list[Cut]:
    """Cut ``length`` px (at least ``tile`` after rounding up to the stride, or one tile) into cores.

    The count is ``ceil((L - 2 halo) / (tile - 2 halo))`` with L rounded up to the stride, the smallest possible.
    """
    padded = round_up(length, stride)
    if padded <= tile:
        return [Cut(0, 0, length)]
    step = tile - 2 * halo
    count = math.ceil((padded - 2 * halo) / step)
    cuts = [Cut(i * step, i * step + halo if i else 0, i * step + tile - halo) for i in range(count - 1)]
    # The last tile shifts inwards until it ends with the frame; its core begins where the one before ends.
    cuts.append(Cut(padded - tile, cuts[-1].core_stop, length))
    return cuts


def cut_range(first: int, last: int, length: int, tile: int, halo: int, stride: int, *, shrink: bool) -> list[Cut]:
    """Cut only what the pixels from ``first`` to ``last`` (exclusive) of ``length`` px need: their cores and a halo around.

    What lies between the halo and a range that ends inside the frame is real context, so cores are as exact as those of the
    whole axis.
    """
    padded = round_up(length, stride)
    begin, end = max(0, (first - halo) // stride * stride), min(padded, round_up(last + halo, stride))
    if end - begin <= tile:
        # A tile that cannot shrink moves back into the frame: beyond its end there is nothing to see.
        return [Cut(begin if shrink else max(0, min(begin, padded - tile)), first, last)]
    cuts = [
        Cut(c.origin + begin, c.core_start + begin, c.core_stop + begin)
        for c in cut_axis(end - begin, tile, halo, stride)
    ]
    cuts[0] = replace(cuts[0], core_start=first)
    cuts[-1] = replace(cuts[-1], core_stop=last)
    return cuts


def plan_tiles(
    frame_hw: tuple[int, int],
    *,
    tile_px: int,
    halo_px: int,
    stride_px: int,
    keep: npt.NDArray[np.bool_] | npt.NDArray[np.uint8] | None = None,
    shrink: bool = True,
) -> TileGrid:
    """Lay tiles over a frame so that their cores cover every pixel exactly once, or every pixel to inspect.

    Parameters
    ----------
    frame_hw
        Height and width in px, at least 1.
    tile_px, halo_px
        Multiples of ``stride_px`` with ``tile_px > 2 * halo_px``.
    keep
        H x W, non-zero where there is something to inspect; tiles whose core holds none of it are left out. Where it costs
        fewer pixels, tiles are laid over the rectangle around it instead of over the frame.
    shrink
        Let the tile shrink to a frame that is smaller, where the engine accepts any size. Without it such a frame is
        padded to the full tile.

    Raises
    ------
    InputError
        A size breaks one of these rules.
    """
    height, width = frame_hw
    if height < 1 or width < 1:
        raise InputError(f"a frame needs at least 1 x 1 px, got {width} x {height}")
    if stride_px < 1 or tile_px % stride_px or halo_px % stride_px or halo_px < 0:
        raise InputError(
            f"tile_px {tile_px} and halo_px {halo_px} must be multiples of the model's stride {stride_px}; "
            f"next larger tile: {round_up(max(tile_px, 1), max(stride_px, 1))}"
        )
    if tile_px <= 2 * halo_px:
        raise InputError(f"tile_px {tile_px} leaves no core inside two halos of {halo_px}; use more than {2 * halo_px}")
    if keep is not None and keep.shape != (height, width):
        raise InputError(f"the keep mask is {keep.shape[1]} x {keep.shape[0]} px, the frame {width} x {height}")

    padded = round_up(height, stride_px), round_up(width, stride_px)
    rules = tile_px, halo_px, stride_px
    whole = _Layout.of(((0, height), (0, width)), frame_hw, rules, shrink=shrink)
    if keep is None:
        return TileGrid(frame_hw, whole.tile_hw, padded, halo_px, whole.tiles)
    best = whole.only(keep)
    if best.tiles:
        rectangle = tuple((int(at[0]), int(at[-1]) + 1) for at in (np.flatnonzero(keep.any(axis=a)) for a in (1, 0)))
        best = min(best, _Layout.of(rectangle, frame_hw, rules, shrink=shrink).only(keep), key=_Layout.cost)
    skipped = max(0, len(whole.tiles) - len(best.tiles))
    return TileGrid(frame_hw, best.tile_hw, padded, halo_px, best.tiles, skipped)


@dataclass(frozen=True)
class _Layout:
    """One way to lay tiles over a frame or a part of it."""

    tile_hw: tuple[int, int]
    tiles: tuple[Tile, ...]

    @classmethod
    def of(
        cls,
        ranges: tuple[tuple[int, int], ...],
        frame_hw: tuple[int, int],
        rules: tuple[int, int, int],
        *,
        shrink: bool,
    ) -> _Layout:
        tile, halo, stride = rules
        cuts, sizes = [], []
        for (first, last), length in zip(ranges, frame_hw, strict=True):
            cuts.append(cut_range(first, last, length, *rules, shrink=shrink))
            needed = min(round_up(length, stride), round_up(last + halo, stride)) - cuts[-1][0].origin
            sizes.append(min(tile, needed) if shrink else tile)
        return cls((sizes[0], sizes[1]), tuple(Tile(y, x) for y in cuts[0] for x in cuts[1]))

    def only(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> _Layout:
        """Leave out tiles whose core holds nothing to inspect."""
        return replace(self, tiles=tuple(t for t in self.tiles if keep[t.core].any()))

    def cost(self) -> int:
        """Pixels that go through the network."""
        return len(self.tiles) * self.tile_hw[0] * self.tile_hw[1]


def hann_weights(length: int, cuts: list[Cut], tile: int) -> list[npt.NDArray[np.float32]]:
    """Weights along one axis that blend overlapping tiles and sum to 1 at every pixel of ``length``.

    Returns one float32 vector of ``tile`` values per cut. A tile at the frame's edge keeps full weight towards it.
    """
    ramp = np.sin(np.pi * (np.arange(tile) + 0.5) / tile) ** 2
    end = max(c.origin for c in cuts) + tile
    total = np.zeros(max(end, length))
    raw = []
    for i, cut in enumerate(cuts):
        weights = ramp.copy()
        if i == 0:
            weights[: tile // 2] = 1.0
        if i == len(cuts) - 1:
            weights[tile // 2 :] = 1.0
        total[cut.origin : cut.origin + tile] += weights
        raw.append(weights)
    return [(w / total[c.origin : c.origin + tile]).astype(np.float32) for w, c in zip(raw, cuts, strict=True)]
