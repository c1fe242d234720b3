"""Fast random fields in uint8, where 128 is the mean."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


def white(rng: np.random.Generator, height: int, width: int) -> U8:
    """Uniform white noise over 0-255."""
    return np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width)


def resize(field: npt.NDArray[Any], height: int, width: int, *, smooth: bool = True) -> npt.NDArray[Any]:
    how = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(field, (width, height), interpolation=how), field.dtype)


def clouds(rng: np.random.Generator, height: int, width: int, grain_px: int, contrast: float) -> U8:
    """Smooth noise with structures of about ``grain_px``; ``contrast`` is its standard deviation in grey levels."""
    rows, columns = height // grain_px + 3, width // grain_px + 3
    coarse = np.clip(128 + rng.normal(0, contrast, (rows, columns)), 0, 255).astype(np.uint8)
    return resize(coarse, height, width)


def blobs(rng: np.random.Generator, height: int, width: int, grain_px: int) -> F32:
    """Two octaves of smooth noise in -1..1 for small irregular shapes."""
    total = np.zeros((height, width), np.float32)
    for octave, weight in ((1, 0.7), (2, 0.3)):
        step = max(2, grain_px // octave)
        coarse = rng.uniform(-1, 1, (height // step + 3, width // step + 3)).astype(np.float32)
        total += np.float32(weight) * resize(coarse, height, width)
    return total
