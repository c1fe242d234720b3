"""The loop that everyone writes first: cut with NumPy, run tile by tile, paste, or average where tiles overlap."""

from __future__ import annotations

from itertools import product

import numpy as np

from jetspect.benchmarks.peers.base import Contender, Job, Scores
from jetspect.runtime.engines.base import U8


def candidates(job: Job) -> list[Contender]:
    """Return the loop without overlap, with a quarter, with two halos, and one that throws the halos away as ours does."""
    found = [_contender(job, overlap) for overlap in job.overlaps(0.0, 0.25)]
    if job.halo_px:
        found.append(Contender("NumPy loop", "the bundle's halo thrown away", lambda image: _cores(job, image)))
    return found


def origins(length: int, tile: int, step: int) -> list[int]:
    """Return where tiles begin along one axis; the last one ends with the frame."""
    return [*range(0, length - tile, step), length - tile]


def _contender(job: Job, overlap: float) -> Contender:
    step = max(1, round(job.tile_px * (1 - overlap)))
    score = _paste if overlap == 0 else _average
    return Contender("NumPy loop", f"overlap {overlap:.0%}", lambda image: score(job, image, step))


def _paste(job: Job, image: U8, step: int) -> Scores:
    height, width = image.shape[:2]
    edge = job.tile_px
    out = np.zeros((job.classes, height, width), np.uint8)
    for y, x in product(origins(height, edge, step), origins(width, edge, step)):
        tile = np.ascontiguousarray(image[None, y : y + edge, x : x + edge])
        out[:, y : y + edge, x : x + edge] = job.engine.run(tile)[0]
    return out


def _average(job: Job, image: U8, step: int) -> Scores:
    height, width = image.shape[:2]
    edge = job.tile_px
    total = np.zeros((job.classes, height, width), np.float32)
    count = np.zeros((height, width), np.float32)
    for y, x in product(origins(height, edge, step), origins(width, edge, step)):
        tile = np.ascontiguousarray(image[None, y : y + edge, x : x + edge])
        total[:, y : y + edge, x : x + edge] += job.engine.run(tile)[0]
        count[y : y + edge, x : x + edge] += 1
    total /= count
    return total


def _cores(job: Job, image: U8) -> Scores:
    height, width = image.shape[:2]
    edge, halo = job.tile_px, job.halo_px
    out = np.zeros((job.classes, height, width), np.uint8)
    for y, x in product(*(origins(n, edge, edge - 2 * halo) for n in (height, width))):
        tile = np.ascontiguousarray(image[None, y : y + edge, x : x + edge])
        scores = job.engine.run(tile)[0]
        top, left = (halo if start else 0 for start in (y, x))
        out[:, y + top : y + edge, x + left : x + edge] = scores[:, top:, left:]
    return out
