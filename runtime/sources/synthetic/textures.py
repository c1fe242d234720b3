"""Surfaces of metal: uint8 around 128, the same grain in pixels whatever the frame's size."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.sources.synthetic.noise import clouds, resize, white

U8 = npt.NDArray[np.uint8]
Texture = Callable[[np.random.Generator, int, int], U8]


def brushed(rng: np.random.Generator, height: int, width: int) -> U8:
    """Long fine parallel marks of a brush or belt, along x or y."""
    if rng.random() < 0.5:
        return np.ascontiguousarray(_brushed_along_x(rng, width, height).T)
    return _brushed_along_x(rng, height, width)


def _brushed_along_x(rng: np.random.Generator, height: int, width: int) -> U8:
    fine = cv2.blur(white(rng, height, width), (95, 1))
    # Longer and stronger marks: noise that is coarse along the brush and one pixel across it.
    long = resize(cv2.blur(white(rng, height, width // 48 + 3), (7, 1)), height, width, smooth=False)
    broad = clouds(rng, height, max(width // 8, 8), 9, 10)
    broad = resize(cv2.blur(broad, (31, 1)), height, width, smooth=False)
    grain = cv2.addWeighted(fine, 1.25, long, 0.32, 128 * (1 - 1.25 - 0.32))
    return np.asarray(cv2.addWeighted(grain, 1.0, broad, 0.6, -128 * 0.6), np.uint8)


def turned(rng: np.random.Generator, height: int, width: int) -> U8:
    """Concentric grooves of a lathe; their centre may lie outside the frame."""
    centre_x = rng.uniform(-0.3, 1.3) * width
    centre_y = rng.choice([-1, 1]) * rng.uniform(0.1, 0.9) * height + height / 2
    x2 = ((np.arange(width, dtype=np.float32) - centre_x) ** 2)[None]
    y2 = ((np.arange(height, dtype=np.float32) - centre_y) ** 2)[:, None]
    radius = x2 + y2
    np.sqrt(radius, out=radius)
    # The tool's feed gives a period, wear and vibration break it; the profile is read at quarter pixels.
    feed = rng.uniform(7, 16)
    count = int(radius.max() * 4) + 8
    position = np.arange(count, dtype=np.float32) / 4
    wobble = np.repeat(rng.normal(0, 1, count // 64 + 2), 64)[:count].cumsum() * 0.02
    groove = 9 * np.sin(2 * np.pi * position / feed + wobble)
    groove += cv2.GaussianBlur(rng.normal(0, 26, (1, count)).astype(np.float32), (0, 0), 2.2)[0]
    groove += cv2.GaussianBlur(rng.normal(0, 90, (1, count)).astype(np.float32), (0, 0), 60)[0]
    profile = np.clip(128 + groove, 0, 255).astype(np.uint8)
    radius *= 4
    grooves = profile[radius.astype(np.uint32)]
    fine = cv2.blur(white(rng, height, width), (5, 5))
    return np.asarray(cv2.addWeighted(grooves, 1.0, fine, 0.45, -128 * 0.45), np.uint8)


def pressed(rng: np.random.Generator, height: int, width: int) -> U8:
    """Rolled and pressed sheet: orange peel, faint rolling marks and soft waves."""
    peel = clouds(rng, height, width, 5, 9)
    rolling = resize(cv2.blur(white(rng, height, width // 96 + 3), (3, 1)), height, width, smooth=False)
    waves = clouds(rng, height, width, 160, 7)
    fine = cv2.blur(white(rng, height, width), (3, 3))
    surface = cv2.addWeighted(peel, 1.0, rolling, 0.06, -128 * 0.06)
    surface = cv2.addWeighted(surface, 1.0, waves, 1.0, -128)
    return np.asarray(cv2.addWeighted(surface, 1.0, fine, 0.22, -128 * 0.22), np.uint8)


TEXTURES: dict[str, Texture] = {"brushed": brushed, "turned": turned, "pressed": pressed}


def light(rng: np.random.Generator, height: int, width: int, direction_xy: tuple[float, float]) -> U8:
    """Uneven light as a gain, uint8 with 128 for 1: a gradient, vignetting and a soft highlight."""
    rows, columns = 48, 64
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    gain = 1 + rng.uniform(0.08, 0.2) * (x * -direction_xy[0] + y * -direction_xy[1])
    gain -= rng.uniform(0.08, 0.22) * (x**2 + y**2) / 2
    for _ in range(rng.integers(1, 3)):
        cx, cy = rng.uniform(-0.8, 0.8, 2)
        along, across = rng.uniform(0.5, 1.4), rng.uniform(0.15, 0.4)
        turn = rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        v = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        gain += rng.uniform(0.1, 0.28) * np.exp(-((u / along) ** 2) - (v / across) ** 2)
    return resize(np.clip(gain * 128, 40, 250).astype(np.uint8), height, width)
