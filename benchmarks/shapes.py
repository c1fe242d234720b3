"""Score maps that break labellers: uint8 H x W, every pixel far from any threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


def spiral(size: int) -> U8:
    """One arm, one pixel wide, one pixel apart: its ends are as far from each other as can be."""
    scores = np.zeros((size, size), np.uint8)
    y = x = 0
    dy, dx = 0, 1
    scores[y, x] = 255

    def free(row: int, column: int) -> bool:
        return not (0 <= row < size and 0 <= column < size and scores[row, column])

    while True:
        for _ in range(2):
            inside = 0 <= y + dy < size and 0 <= x + dx < size
            if inside and free(y + dy, x + dx) and free(y + 2 * dy, x + 2 * dx):
                break
            dy, dx = dx, -dy
        else:
            return scores
        y, x = y + dy, x + dx
        scores[y, x] = 255


def comb(height: int, width: int, *, joined: str) -> U8:
    """Teeth one pixel wide that hang together in the first (``above``) or the last row."""
    scores = np.zeros((height, width), np.uint8)
    scores[:, ::2] = 255
    scores[0 if joined == "above" else -1] = 255
    return scores


def checkerboard(height: int, width: int) -> U8:
    """As many components as there can be for 4 neighbours, one for 8."""
    return np.where(np.indices((height, width)).sum(axis=0) % 2, 0, 255).astype(np.uint8)


def corners(size: int = 128) -> U8:
    """Squares that touch at corners only, across the edges of words of 32 px."""
    scores = np.zeros((size // 2, size), np.uint8)
    for i in range(4):
        scores[i * size // 8 : (i + 1) * size // 8, i * size // 4 : (i + 1) * size // 4] = 230
    return scores


def noise(height: int, width: int, share: float, seed: int = 7) -> U8:
    """Independent pixels; at a share of 0.41 (8 neighbours) or 0.59 (4) components are largest and most ragged."""
    inside = np.random.default_rng(seed).random((height, width)) < share
    return np.where(inside, 255, 0).astype(np.uint8)


def part(height: int, width: int, seed: int = 0) -> U8:
    """What an inspection sees: scratches over many words, blobs of uneven score, single pixels, mostly nothing."""
    rng = np.random.default_rng(seed)
    scores = np.zeros((height, width), np.uint8)
    scores[rng.integers(0, height, 300), rng.integers(0, width, 300)] = 255
    for y, x in zip(rng.integers(0, height, 40), rng.integers(0, width, 40), strict=True):
        blob = scores[y : y + 37, x : x + 41]
        blob[:] = rng.integers(0, 256, blob.shape)
    scores[height // 3, width // 50 : width - width // 50] = 220
    scores[height // 20 : height - height // 20, width // 70] = 220
    return scores


SHAPES: dict[str, Callable[[], U8]] = {
    "empty": lambda: np.zeros((65, 97), np.uint8),
    "full": lambda: np.full((130, 515), 255, np.uint8),
    "one row": lambda: np.tile(np.array([255, 0, 255, 255, 0], np.uint8), 60)[None],
    "one column": lambda: np.tile(np.array([255, 0, 255, 255, 0], np.uint8), 60)[:, None],
    "one pixel": lambda: np.full((1, 1), 255, np.uint8),
    "last pixel": lambda: np.pad(np.full((1, 1), 255, np.uint8), ((64, 0), (95, 0))),
    "spiral": lambda: spiral(99),
    "comb joined above": lambda: comb(60, 101, joined="above"),
    "comb joined below": lambda: comb(60, 101, joined="below"),
    "lying comb": lambda: np.ascontiguousarray(comb(60, 101, joined="below").T),
    "checkerboard": lambda: checkerboard(50, 131),
    "corners": corners,
    "noise": lambda: noise(120, 170, 0.55),
}
