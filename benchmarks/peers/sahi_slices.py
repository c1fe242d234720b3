"""SAHI's slicing around the same engine, for a model that answers with a mask instead of boxes."""

from __future__ import annotations

import numpy as np

from jetspect.benchmarks.peers.base import Contender, Job, Scores
from jetspect.errors import MissingDependencyError
from jetspect.runtime.engines.base import U8

OVERLAPS = (0.0, 0.2)
_ROUNDING = 1e-6  # SAHI truncates tile x overlap to px; one px less would leave the model's stride


def candidates(job: Job) -> list[Contender]:
    """Return its usual overlap, none, and two halos.

    SAHI merges what is found in two slices into one object that covers both; the same for scores is their maximum. Its own
    way to objects, with a mask of the frame's size for each, and its merging are left out: they would only take longer.

    Raises
    ------
    MissingDependencyError
        SAHI is not installed.
    """
    try:
        from sahi.slicing import slice_image  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingDependencyError("sahi", "the peer sahi", "pip install 'jetspect[peers]'") from error

    def contender(overlap: float) -> Contender:
        def score(image: U8) -> Scores:
            cut = slice_image(
                image,
                slice_height=job.tile_px,
                slice_width=job.tile_px,
                overlap_height_ratio=overlap + _ROUNDING,
                overlap_width_ratio=overlap + _ROUNDING,
                auto_slice_resolution=False,
            )
            out = np.zeros((job.classes, *image.shape[:2]), np.uint8)
            for part, (x, y) in zip(cut.images, cut.starting_pixels, strict=True):
                scores = job.engine.run(np.ascontiguousarray(part)[None])[0]
                place = out[:, y : y + scores.shape[1], x : x + scores.shape[2]]
                np.maximum(place, scores, out=place)
            return out

        return Contender("SAHI", f"overlap {overlap:.0%}", score)

    return [contender(overlap) for overlap in job.overlaps(*OVERLAPS)]
