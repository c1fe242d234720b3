"""Golden tiles without anybody's photographs: rendered ones to which a model has something to say."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jetspect.export.geometry import Score
from jetspect.runtime.scoring import gather
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.tiling import Cut, Tile

U8 = npt.NDArray[np.uint8]
CANDIDATES = 32


def rendered_tiles(score: Score, count: int, tile_px: int | tuple[int, int], channels: int) -> U8:
    """Return the ``count`` of 32 rendered tiles on which the model's probabilities vary most, uint8 N x T x T x C.

    A tile on which a model answers nothing everywhere would prove little about an engine. Whole frames have a width and a
    height instead of one edge.
    """
    size_wh = (tile_px, tile_px) if isinstance(tile_px, int) else tile_px
    tiles = np.empty((CANDIDATES, size_wh[1], size_wh[0], channels), np.uint8)
    spread = np.empty(CANDIDATES)
    for seed in range(CANDIDATES):
        part = render_part(40_000 + seed, size_wh, defects=5, whole_frame=seed % 2 == 0)
        gather(part.image, Tile(Cut(0, 0, 0), Cut(0, 0, 0)), tiles[seed])
        spread[seed] = score(tiles[seed : seed + 1]).std()
    return tiles[np.sort(np.argsort(-spread, kind="stable")[:count])]
