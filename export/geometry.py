"""Measure how a model may be tiled: its stride, and the halo at which tiles give the same answer as the whole frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.errors import ExportError
from jetspect.runtime.manifest import TilingContract
from jetspect.runtime.tiling import round_up

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Score = Callable[[U8], F32]
"""uint8 N x H x W x C -> probabilities N x K x H x W."""

TOLERANCE = 1e-4
MAX_STRIDE_PX = 128
_STRIDES = tuple(2**n for n in range(8))


@dataclass(frozen=True)
class Halo:
    """The smallest halo within the tolerance, and the difference of probability that is left at it."""

    px: int
    error: float


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
    raise ExportError(f"the model takes no multiple of 1 to {MAX_STRIDE_PX} px and answers in the same size ({reason})")


def measure_halo(score: Score, image: U8, stride_px: int, *, tolerance: float = TOLERANCE) -> Halo | None:
    """Compare tiles with the same pixels of the whole image; None where no halo makes them agree.

    The error at distance d from a tile's border is the largest difference at distance d or more, so two answers tell
    the error at every halo at once.

    Parameters
    ----------
    image
        uint8 H x W x C with real texture, H and W multiples of the stride.
    """
    height, width = image.shape[:2]
    whole = score(image[None])[0]
    tile = round_up(min(height, width) * 3 // 4 - stride_px + 1, stride_px)
    error = np.zeros(tile // 2, np.float64)
    distance = np.minimum(np.arange(tile), np.arange(tile)[::-1])
    ring = np.minimum.outer(distance, distance)
    # Odd multiples of the stride: a tile that starts off a coarser grid would show it.
    for y, x in {(stride_px, stride_px), _far_origin(height, width, tile, stride_px)}:
        answer = score(np.ascontiguousarray(image[None, y : y + tile, x : x + tile]))[0]
        difference = np.abs(answer - whole[:, y : y + tile, x : x + tile]).max(axis=0)
        np.maximum.at(error, np.minimum(ring.ravel(), len(error) - 1), difference.ravel())
    at_least = np.maximum.accumulate(error[::-1])[::-1]
    for halo in range(0, tile // 2 - stride_px, stride_px):
        if at_least[halo] <= tolerance:
            return Halo(halo, float(at_least[halo]))
    return None


def tiling_contract(
    score: Score, image: U8, channels: int, *, tile_px: int | None = None, tolerance: float = TOLERANCE
) -> TilingContract:
    """Measure stride and halo and choose a tile size.

    Without ``tile_px`` it is the smallest multiple of 64 px whose cores are at least half of the pixels computed.

    Raises
    ------
    ExportError
        The wanted tile size is no multiple of the stride or leaves no core.
    """
    accepted = accepted_stride(score, channels)
    side = min(image.shape[:2]) // MAX_STRIDE_PX * MAX_STRIDE_PX
    image = np.ascontiguousarray(image[:side, :side])
    halo: Halo | None = None
    stride = accepted
    # A model may accept sizes on a finer grid than it samples on: then only the coarser stride tiles exactly.
    while halo is None and stride <= MAX_STRIDE_PX:
        halo = measure_halo(score, image, stride, tolerance=tolerance)
        stride = stride if halo is not None else stride * 2
    if halo is None:
        stride = accepted
        tile = tile_px or round_up(512, stride)
        overlap = round_up(tile // 8, stride)
        return TilingContract(mode="blend", stride_px=stride, halo_px=overlap, halo_error=1.0, tile_px=tile)
    # (T / (T - 2 h))^2 <= 2 solved for T.
    tile = tile_px or max(round_up(256, stride), round_up(round_up(int(halo.px * 2 / (1 - 0.5**0.5)) + 1, 64), stride))
    if tile % stride or tile <= 2 * halo.px:
        raise ExportError(
            f"tile {tile} px must be a multiple of the stride {stride} and larger than two halos of {halo.px} px"
        )
    return TilingContract(mode="exact", stride_px=stride, halo_px=halo.px, halo_error=halo.error, tile_px=tile)


def _far_origin(height: int, width: int, tile: int, stride: int) -> tuple[int, int]:
    return (height - tile) // stride * stride, (width - tile) // stride * stride
