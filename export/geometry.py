"""Measure how a model may be tiled: its stride, and the halo at which tiles give the same answer as the whole frame."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from jetspect.errors import ExportError
from jetspect.runtime.manifest import TilingContract
from jetspect.runtime.tiling import plan_tiles, round_up

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Score = Callable[[U8], F32]
"""uint8 N x H x W x C -> probabilities N x K x H x W."""

TOLERANCE = 1e-4
MAX_STRIDE_PX = 128
MIN_TEXTURE_PX = 256
MIN_CONTRAST = 1e-3
_STRIDES = tuple(2**n for n in range(8))
_WIDENINGS = 4
_log = logging.getLogger(__name__)


def accepted_stride(score: Score, channels: int) -> int:
    """Return the smallest power of two whose multiples the model takes as height and width.

    Raises
    ------
    ExportError
        None up to 128 works, or the answer has another height and width than the input.
    """
    reason = ""
    for stride in _STRIDES:
        # An odd multiple, so that a smaller stride cannot pass by chance.
        edge = stride * (2 * -(-96 // (2 * stride)) + 1)
        try:
            answer = score(np.zeros((1, edge, edge, channels), np.uint8))
        except Exception as error:  # whatever a user's model raises means: not this size
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            continue
        if answer.ndim == 4 and answer.shape[2:] == (edge, edge):
            return int(stride)
        reason = f"{edge} x {edge} px in, {' x '.join(map(str, answer.shape))} out"
    raise ExportError(
        f"the model takes no tile of {channels} channels whose edge is a multiple of 1 to {MAX_STRIDE_PX} px and answers "
        f"in the same size ({reason})"
    )


def tiling_contract(
    score: Score,
    image: U8,
    accepted_px: int,
    *,
    tile_px: int | None = None,
    tolerance: float = TOLERANCE,
    pools: str | None = None,
) -> TilingContract:
    """Measure stride and halo, prove them by stitching the image as the runtime does, and choose a tile size.

    Without ``tile_px`` it is the smallest multiple of 64 px whose cores are at least half of the pixels computed.

    Parameters
    ----------
    image
        uint8 H x W x C with real texture, at least 256 px each way.
    accepted_px
        From :func:`accepted_stride`.
    pools
        Operator that looks at the whole tile (:func:`~jetspect.export.graph.pools_globally`): then no halo is looked for,
        since one that seemed enough on this image would not be on another.

    Raises
    ------
    ExportError
        The wanted tile size is no multiple of the stride or leaves no core, or nothing can be measured on the image.
    """
    image = _usable(image)
    whole = score(image[None])[0]
    if not np.isfinite(whole).all():
        raise ExportError(
            "the model answers NaN or infinity on a real image; do mean, std and weights belong together?"
        )
    if float(np.ptp(whole, axis=(1, 2)).max()) < MIN_CONTRAST:
        raise ExportError(
            f"the model answers the same everywhere (about {float(whole.mean()):.3g}), so its halo cannot be measured; "
            "give images that show defects, and check mean, std and the weights"
        )
    # A model may accept sizes on a finer grid than it samples on: then only the coarser stride tiles exactly.
    for stride in (s for s in _STRIDES if s >= accepted_px and pools is None):
        error = border_error(score, image, whole, stride)
        enough = [halo for halo in range(0, len(error) - stride, stride) if error[halo] <= tolerance]
        for halo in enough[:_WIDENINGS]:
            left = stitched_error(score, image, whole, halo, stride)
            if left <= tolerance:
                return _exact(stride, halo, max(left, float(error[halo])), tile_px)
    why = f"{pools} looks at the whole tile" if pools else f"no halo up to {image.shape[0] * 3 // 8} px is enough"
    _log.warning("tiles cannot be exact: %s; the model is recorded as blend", why)
    tile = tile_px or round_up(512, accepted_px)
    overlap = round_up(tile // 8, accepted_px)
    error = border_error(score, image, whole, accepted_px)
    return _contract("blend", accepted_px, overlap, float(error[min(overlap, len(error) - 1)]), tile)


def border_error(score: Score, image: U8, whole: F32, stride_px: int) -> npt.NDArray[np.float64]:
    """Compare tiles with the same pixels of the whole image's answer.

    Element d is the largest difference of probability at distance d or more from a tile's border, so two tiles tell the
    error at every halo at once.
    """
    side = image.shape[0]
    tile = round_up(side * 3 // 4 - stride_px + 1, stride_px)
    error = np.zeros(tile // 2, np.float64)
    distance = np.minimum(np.arange(tile), np.arange(tile)[::-1])
    ring = np.minimum.outer(distance, distance).ravel()
    # An odd multiple of the stride: a model that samples on a coarser grid shows it here.
    for origin in (stride_px, (side - tile) // stride_px * stride_px):
        place = slice(origin, origin + tile)
        answer = score(np.ascontiguousarray(image[None, place, place]))[0]
        np.maximum.at(error, ring, np.abs(answer - whole[:, place, place]).max(axis=0).ravel())
    at_least: npt.NDArray[np.float64] = np.maximum.accumulate(error[::-1])[::-1]
    return at_least


def stitched_error(score: Score, image: U8, whole: F32, halo_px: int, stride_px: int) -> float:
    """Return the largest difference of probability between the image stitched from cores and its whole answer."""
    side = image.shape[0]
    # Cores of an eighth of the image at least: a wide halo must not cost thousands of tiles.
    tile = round_up(max(2 * halo_px + side // 8, side // 2), stride_px)
    grid = plan_tiles(image.shape[:2], tile_px=tile, halo_px=halo_px, stride_px=stride_px)
    worst = 0.0
    for cut in grid.tiles:
        rows = slice(cut.y.origin, cut.y.origin + grid.tile_hw[0])
        columns = slice(cut.x.origin, cut.x.origin + grid.tile_hw[1])
        answer = score(np.ascontiguousarray(image[None, rows, columns]))[0]
        (top, left), (core_rows, core_columns) = cut.crop, cut.core
        worst = max(worst, float(np.abs(answer[:, top, left] - whole[:, core_rows, core_columns]).max()))
    return worst


def _exact(stride: int, halo: int, error: float, tile_px: int | None) -> TilingContract:
    # (T / (T - 2 h))^2 <= 2 solved for T.
    enough = round_up(int(halo * 2 / (1 - 0.5**0.5)) + 1, 64)
    return _contract("exact", stride, halo, error, tile_px or max(round_up(256, stride), round_up(enough, stride)))


def _contract(mode: Literal["exact", "blend"], stride: int, halo: int, error: float, tile: int) -> TilingContract:
    if tile % stride or tile <= 2 * halo:
        raise ExportError(
            f"tile {tile} px must be a multiple of the stride {stride} and larger than two halos of {halo} px"
        )
    return TilingContract(mode=mode, stride_px=stride, halo_px=halo, halo_error=error, tile_px=tile)


def _usable(image: U8) -> U8:
    """Cut the image to a square of a multiple of every stride."""
    side = min(image.shape[:2]) // MAX_STRIDE_PX * MAX_STRIDE_PX
    if side < MIN_TEXTURE_PX:
        raise ExportError(
            f"stride and halo need a real image of at least {MIN_TEXTURE_PX} x {MIN_TEXTURE_PX} px to be measured on, "
            f"got {image.shape[1]} x {image.shape[0]}"
        )
    return np.ascontiguousarray(image[:side, :side])
