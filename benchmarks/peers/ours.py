"""This project's own path, and the two marks around it: the engine alone, and the whole frame in one run."""

from __future__ import annotations

import numpy as np

from jetspect.benchmarks.peers.base import Contender, Job
from jetspect.runtime.engines.base import U8
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import ScoreMapper
from jetspect.runtime.tiling import plan_tiles, round_up

OURS, LIMIT = "jetspect", "the engine alone"


def ours(job: Job) -> Contender:
    """Cut, run and stitch as a station does."""
    mapper = ScoreMapper(job.manifest, job.engine, TilingSettings(tile_px=job.tile_px))
    return Contender(OURS, "", lambda image: mapper.score(_plain(image)).score_map)


def tiles_of(job: Job, frame_hw: tuple[int, int]) -> int:
    """Return how many tiles this project cuts a frame into."""
    rules = job.manifest.tiling
    return len(
        plan_tiles(frame_hw, tile_px=job.tile_px, halo_px=rules.halo_px, stride_px=rules.stride_px).tiles,
    )


def engine_alone(job: Job) -> Contender:
    """Run as many tiles as ours has, always the same one: what nobody with these tiles can be faster than."""
    edge, channels = job.tile_px, job.manifest.input.channels
    tile = np.zeros((1, edge, edge, channels), np.uint8)

    def score(image: U8) -> U8:
        tile[0] = image[:edge, :edge]
        answer = tile
        for _ in range(tiles_of(job, (image.shape[0], image.shape[1]))):
            answer = job.engine.run(tile)
        return answer

    return Contender(LIMIT, "", score)


def whole_frame(job: Job, image: U8) -> U8:
    """Return what the same graph says of a frame in one run: the answer that cutting must not change."""
    edge = round_up(max(image.shape[:2]), job.manifest.tiling.stride_px)
    return np.array(ScoreMapper(job.manifest, job.engine, TilingSettings(tile_px=edge)).score(_plain(image)).score_map)


def _plain(image: U8) -> U8:
    """Return a frame as cameras give it: one of one channel is H x W."""
    return image if image.shape[2] == 3 else image[:, :, 0]
