"""One part in front of the synthetic camera: tray, outline, surface, light, defects, sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.sources.synthetic.defects import CLASSES, DRAW, changed
from jetspect.runtime.sources.synthetic.noise import clouds, resize, white
from jetspect.runtime.sources.synthetic.textures import TEXTURES, light

U8 = npt.NDArray[np.uint8]
MIN_SIDE_PX, MAX_SIDE_PX = 64, 8192


@dataclass(frozen=True, eq=False)
class SyntheticPart:
    """A rendered part.

    Attributes
    ----------
    image
        uint8 H x W x 3 (BGR).
    mask
        uint8 H x W: 0 background, k for ``CLASSES[k - 1]``.
    part_mask
        uint8 H x W: 1 where the part is.
    """

    image: U8
    mask: U8
    part_mask: U8
    texture: str
    defects: int


def render_part(
    seed: int,
    size_wh: tuple[int, int] = (5472, 3648),
    *,
    texture: str | None = None,
    defects: int | None = None,
    whole_frame: bool | None = None,
) -> SyntheticPart:
    """Render one part, the same bit for bit for the same arguments.

    Parameters
    ----------
    texture
        ``brushed``, ``turned`` or ``pressed``; None chooses by seed.
    defects
        How many to draw; None chooses 1-6 by seed, 0 gives a clean part.
    whole_frame
        Whether the part fills the frame; otherwise its outline, holes and the tray around it show. None chooses by seed.

    Raises
    ------
    InputError
        The size is outside 64-8192 px, or the texture is not known.
    """
    width, height = size_wh
    if not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in size_wh):
        raise InputError(f"a synthetic part is {MIN_SIDE_PX}-{MAX_SIDE_PX} px wide and high, got {width} x {height}")
    if texture is not None and texture not in TEXTURES:
        raise InputError(f"texture {texture!r} is not known; use one of {', '.join(TEXTURES)}")
    # One stream per purpose: another number of defects must not change the surface.
    looks, flaws = (np.random.default_rng([seed, purpose]) for purpose in (0, 1))
    name = texture or list(TEXTURES)[int(looks.integers(len(TEXTURES)))]
    angle = looks.uniform(0, 2 * np.pi)
    light_xy = (float(np.cos(angle)), float(np.sin(angle)))
    fills = bool(looks.random() < 0.4) if whole_frame is None else whole_frame

    surface = TEXTURES[name](looks, height, width)
    level = looks.uniform(0.85, 1.15)
    grey = cv2.multiply(surface, light(looks, height, width, light_xy), scale=level / 128)
    part = np.ones((height, width), np.uint8)
    if not fills:
        grey, part = _cut_out(looks, np.asarray(grey, np.uint8), light_xy)
    sensor = white(looks, height, width)
    grey = cv2.addWeighted(grey, 1.0, sensor, 0.035, -128 * 0.035)
    tint = [1 + looks.uniform(-0.01, 0.05), 1.0, 1 + looks.uniform(-0.05, 0.02)]
    ramp = np.arange(256)
    image = np.asarray(cv2.merge([cv2.LUT(grey, np.clip(ramp * t, 0, 255).astype(np.uint8)) for t in tint]), np.uint8)
    count = int(flaws.integers(1, 7)) if defects is None else defects
    mask = np.zeros((height, width), np.uint8)
    drawn = sum(_draw_defect(flaws, image, mask, part, light_xy) for _ in range(count))
    return SyntheticPart(image, mask, part, name, drawn)


def _cut_out(rng: np.random.Generator, grey: U8, light_xy: tuple[float, float]) -> tuple[U8, U8]:
    """Lay the surface into a part's outline with holes and bevelled edges, on a dark tray."""
    height, width = grey.shape
    side = min(height, width)
    part = np.zeros((height, width), np.uint8)
    x0, y0 = (int(n * rng.uniform(0.04, 0.12)) for n in (width, height))
    x1, y1 = (int(n * (1 - rng.uniform(0.04, 0.12))) for n in (width, height))
    corner = max(2, int(side * rng.uniform(0.02, 0.12)))
    cv2.rectangle(part, (x0 + corner, y0), (x1 - corner, y1), 1, -1)
    cv2.rectangle(part, (x0, y0 + corner), (x1, y1 - corner), 1, -1)
    for cx in (x0 + corner, x1 - corner):
        for cy in (y0 + corner, y1 - corner):
            cv2.circle(part, (cx, cy), corner, 1, -1)
    for _ in range(int(rng.integers(0, 5))):
        radius = int(side * rng.uniform(0.02, 0.06))
        centre = int(rng.uniform(x0 + 3 * radius, x1 - 3 * radius)), int(rng.uniform(y0 + 3 * radius, y1 - 3 * radius))
        cv2.circle(part, centre, radius, 0, -1)
    shadow = cv2.resize(part * np.uint8(255), (width // 16 + 2, height // 16 + 2), interpolation=cv2.INTER_AREA)
    shadow = resize(cv2.GaussianBlur(shadow, (0, 0), 3), height, width, smooth=False)
    tray = cv2.addWeighted(clouds(rng, height, width, 23, 14), 0.12, white(rng, height, width), 0.05, 18)
    tray = cv2.addWeighted(tray, 1.0, shadow, -0.07, 0)
    out = np.where(part > 0, grey, np.asarray(tray, np.uint8))
    _bevel(out, part, light_xy, max(2, round(side / 500)))
    return out, part


def _bevel(grey: U8, part: U8, light_xy: tuple[float, float], width: int) -> None:
    """Let the part's edges catch the light: bright towards it, dark away from it."""
    contours, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        points = contour[:, 0, :]
        ahead, behind = np.roll(points, -4, axis=0), np.roll(points, 4, axis=0)
        along = (ahead - behind).astype(np.float64)
        along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        # The contour of the part runs so that its outward normal lies to the left; holes run the other way round.
        facing = -(along[:, 1] * light_xy[0] - along[:, 0] * light_xy[1])
        levels = np.clip(120 + 115 * facing, 25, 245).astype(int)
        step = max(2, width)
        for i in range(0, len(points), step):
            end = points[(i + step) % len(points)]
            start = (int(points[i][0]), int(points[i][1]))
            cv2.line(grey, start, (int(end[0]), int(end[1])), int(levels[i]), width, cv2.LINE_AA)


def _draw_defect(rng: np.random.Generator, image: U8, mask: U8, part: U8, light_xy: tuple[float, float]) -> bool:
    """Draw one defect at a place where it lies on the part alone; False where none was found."""
    index = int(rng.integers(len(CLASSES)))
    patch = DRAW[CLASSES[index]](rng, light_xy)
    h, w = patch.shade.shape
    height, width = mask.shape
    if h >= height or w >= width:
        return False
    for _ in range(24):
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        place = slice(y, y + h), slice(x, x + w)
        pixels, change = changed(patch, image[place])
        inside = cv2.erode(part[place], np.ones((5, 5), np.uint8), borderValue=1)
        if change.any() and not (change & (inside == 0)).any() and not (change & (mask[place] > 0)).any():
            image[place] = pixels
            mask[place][change > 0] = index + 1
            return True
    return False
