"""Defects drawn into small patches of a part.

Relief defects (scratch, pit, dent) are height fields lit from the part's one light direction, so that all of them agree;
cracks swallow light; stains change colour. A pixel belongs to the mask where the noise-free drawing changes it by at least
``VISIBLE`` grey levels, plus the pixels that closing with a 3 x 3 square adds (the zero crossing between lit and shaded flank).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.sources.synthetic.noise import blobs

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
CLASSES = ("scratch", "pit", "dent", "crack", "stain")
VISIBLE = 7.0


@dataclass(frozen=True, eq=False)
class Patch:
    """What a defect does to a part: ``gain`` (per channel) times the pixel plus ``shade`` grey levels."""

    shade: F32
    gain: F32 | None = None


def relief(height: F32, light_xy: tuple[float, float], strength: float, occlusion: float) -> F32:
    """Shade a height field: slopes towards the light are bright, away from it dark, and hollows lose light."""
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3) / 8
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3) / 8
    lit = (slope_x * light_xy[0] + slope_y * light_xy[1]) * strength
    return np.asarray(lit + np.minimum(height, 0) * occlusion, np.float32)


def scratch(rng: np.random.Generator, light_xy: tuple[float, float]) -> Patch:
    """A thin curved groove of varying depth that may break off."""
    length, width = rng.uniform(50, 520), rng.uniform(1.3, 4.0)
    path = _curve(rng, length, bend=0.25)
    height = _line(path, width, depth=_varying(rng, len(path)), blur=width / 3)
    # Bare metal at the bottom of a scratch glints; a burr beside it throws a thin shadow.
    glint = rng.uniform(25, 70) * cv2.GaussianBlur(-height, (0, 0), 0.6)
    return Patch(np.asarray(relief(height, light_xy, rng.uniform(110, 190), 0) + glint, np.float32))


def pit(rng: np.random.Generator, light_xy: tuple[float, float]) -> Patch:
    """A small hollow, alone or with a few smaller ones around it."""
    radius = float(np.exp(rng.uniform(np.log(2.5), np.log(16))))
    extent = int(radius * 5) + 12
    height = np.zeros((2 * extent, 2 * extent), np.float32)
    for index in range(int(rng.integers(1, 4))):
        r = radius if index == 0 else radius * rng.uniform(0.25, 0.6)
        offset = rng.normal(0, 0 if index == 0 else 1.3 * radius, 2)
        height -= _bump(height.shape, extent + offset, (r, r * rng.uniform(0.7, 1)), rng.uniform(0, np.pi), 4)
    height *= 1 + 0.25 * blobs(rng, *height.shape, max(3, int(radius / 2)))
    return Patch(relief(height, light_xy, rng.uniform(40, 70) * radius**0.5, rng.uniform(45, 85)))


def dent(rng: np.random.Generator, light_xy: tuple[float, float]) -> Patch:
    """A large shallow hollow seen by its shading only."""
    radius = rng.uniform(18, 90)
    extent = int(radius * 2.6)
    turn, shape = rng.uniform(0, np.pi), (radius, radius * rng.uniform(0.55, 1))
    height = -_bump((2 * extent, 2 * extent), np.array([extent, extent]), shape, turn, 2)
    height *= 1 + 0.15 * blobs(rng, 2 * extent, 2 * extent, max(6, int(radius / 2)))
    return Patch(relief(height, light_xy, rng.uniform(26, 48) * radius, rng.uniform(4, 12)))


def crack(rng: np.random.Generator, light_xy: tuple[float, float]) -> Patch:
    """A thin dark jagged line with branches."""
    paths = [_jagged(rng, _curve(rng, rng.uniform(60, 420), bend=0.15))]
    for _ in range(int(rng.integers(0, 4))):
        start = paths[0][rng.integers(len(paths[0]) // 4, len(paths[0]))]
        paths.append(_jagged(rng, _curve(rng, rng.uniform(20, 120), bend=0.2, start=start)))
    points = np.concatenate(paths)
    low = points.min(axis=0) - 12
    size = (points.max(axis=0) - low + 12).astype(int)
    depth = np.zeros((size[1], size[0]), np.float32)
    for index, path in enumerate(paths):
        width = rng.uniform(1.2, 3.0) * (1 if index == 0 else 0.7)
        taper = np.linspace(1, 0.35, len(path))
        depth = np.maximum(depth, -_line(path, width, depth=taper, blur=0.6, box=(low, size)))
    edge = relief(-depth, light_xy, 40, 0)
    return Patch(np.asarray(edge - rng.uniform(55, 95) * depth, np.float32))


def stain(rng: np.random.Generator, light_xy: tuple[float, float]) -> Patch:
    """Dried liquid or oil: an irregular soft area that is darker and shifted in colour, often with a darker rim."""
    radius = float(np.exp(rng.uniform(np.log(10), np.log(130))))
    extent = int(radius * 1.7) + 6
    turn, shape = rng.uniform(0, np.pi), (radius, radius * rng.uniform(0.5, 1))
    field = _bump((2 * extent, 2 * extent), np.array([extent, extent]), shape, turn, 2)
    field += 0.2 * blobs(rng, 2 * extent, 2 * extent, max(4, int(radius / 2.5)))
    field += 0.07 * blobs(rng, 2 * extent, 2 * extent, max(3, int(radius / 8)))
    edge = _window(field.shape)
    alpha = np.clip((field - 0.45) / 0.12, 0, 1) * edge
    rim = rng.uniform(0, 0.6) * alpha * (1 - alpha) * 4
    tint = np.array([rng.uniform(0.55, 0.85), rng.uniform(0.66, 0.9), rng.uniform(0.75, 0.95)], np.float32)
    cover = np.clip(alpha * rng.uniform(0.6, 1.0) + 0.35 * rim, 0, 1)[:, :, None]
    return Patch(np.zeros(field.shape, np.float32), np.asarray(1 - cover * (1 - tint), np.float32))


DRAW: dict[str, Callable[[np.random.Generator, tuple[float, float]], Patch]] = {
    "scratch": scratch,
    "pit": pit,
    "dent": dent,
    "crack": crack,
    "stain": stain,
}


def changed(patch: Patch, under: U8) -> tuple[U8, U8]:
    """Apply a patch to the BGR pixels under it; return the new pixels and the 0/1 mask of what changed visibly."""
    before = under.astype(np.float32)
    smooth = cv2.GaussianBlur(before, (0, 0), 3)  # the rule is about the drawing, not the grain below it
    gain = patch.gain if patch.gain is not None else np.float32(1)
    # Relief and shadow scale with the light that falls on the place.
    shade = patch.shade[:, :, None] * (0.35 + 0.65 * smooth / 128)
    after = before * gain + shade
    difference = np.abs(smooth * gain + shade - smooth).max(axis=2)
    mask = (difference >= VISIBLE).astype(np.uint8)
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)), np.uint8)
    # What lies outside the mask stays as it was, so that the mask is exact.
    pixels = np.where(mask[:, :, None] > 0, np.clip(after, 0, 255), before)
    return (pixels + 0.5).astype(np.uint8), mask


def _curve(
    rng: np.random.Generator, length: float, bend: float, start: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    turn = rng.uniform(0, 2 * np.pi)
    t = np.linspace(0, 1, max(8, int(length / 5)))
    heading = turn + bend * np.cumsum(rng.normal(0, 0.12, t.size)) + rng.uniform(-bend, bend) * 3 * t
    steps = np.stack([np.cos(heading), np.sin(heading)], axis=1) * (length / t.size)
    return np.cumsum(steps, axis=0) + (start if start is not None else 0.0)


def _jagged(rng: np.random.Generator, path: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return path + rng.normal(0, 1.7, path.shape).cumsum(axis=0) * 0.4 + rng.normal(0, 1.0, path.shape)


def _varying(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    depth = np.interp(np.arange(count), np.linspace(0, count, 7), rng.uniform(0.45, 1.0, 7))
    depth *= np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / 4 + 0.15)
    if count > 30 and rng.random() < 0.4:  # the tool lifted off for a moment
        gap = rng.integers(8, count - 12)
        depth[gap : gap + rng.integers(2, 6)] = 0
    return depth


def _line(
    path: npt.NDArray[np.float64],
    width: float,
    *,
    depth: npt.NDArray[np.float64],
    blur: float,
    box: tuple[npt.NDArray[np.float64], npt.NDArray[np.int_]] | None = None,
) -> F32:
    """Draw a groove of varying depth along a path; heights from -1 (deep) to 0."""
    low = path.min(axis=0) - 12 if box is None else box[0]
    size = (path.max(axis=0) - low + 12).astype(int) if box is None else box[1]
    canvas = np.zeros((size[1], size[0]), np.uint8)
    points = np.round((path - low) * 16).astype(int)
    for a, b, d in zip(points[:-1], points[1:], depth[1:], strict=True):
        if d > 0.02:
            level = int(255 * d)
            cv2.line(
                canvas, (int(a[0]), int(a[1])), (int(b[0]), int(b[1])), level, max(1, round(width)), cv2.LINE_AA, 4
            )
    return np.asarray(-cv2.GaussianBlur(canvas.astype(np.float32) / 255, (0, 0), max(0.5, blur)), np.float32)


def _bump(
    shape: tuple[int, ...], centre: npt.NDArray[np.float64], radii: tuple[float, float], turn: float, power: int
) -> F32:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    u, v = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    r2 = (u / radii[0]) ** 2 + (v / radii[1]) ** 2
    return np.asarray(np.exp(-(r2 ** (power / 2))), np.float32)


def _window(shape: tuple[int, ...]) -> F32:
    """1 inside, falling to 0 at the patch's edge, so that no shape is cut off straight."""
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in shape)
    return np.asarray(np.clip(np.minimum.outer(y, x) / (0.08 * min(shape)), 0, 1), np.float32)
