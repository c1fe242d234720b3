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


def rendered_tiles(score: Score, count: int, tile_px: int, channels: int) -> U8:
    """Return the ``count`` of 32 rendered tiles on which the model's probabilities vary most, uint8 N x T x T x C.

    A tile on which a model answers nothing everywhere would prove little about an engine.
    """
    tiles = np.empty((CANDIDATES, tile_px, tile_px, channels), np.uint8)
    spread = np.empty(CANDIDATES)
    for seed in range(CANDIDATES):
        part = render_part(40_000 + seed, (tile_px, tile_px), defects=5, whole_frame=seed % 2 == 0)
        gather(part.image, Tile(Cut(0, 0, 0), Cut(0, 0, 0)), tiles[seed])
        spread[seed] = score(tiles[seed : seed + 1]).std()
    return tiles[np.sort(np.argsort(-spread, kind="stable")[:count])]
