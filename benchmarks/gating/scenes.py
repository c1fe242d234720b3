"""Rendered parts that cover a stated share of the frame, on a plain dark background."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.runtime.sources.synthetic import render_part

U8 = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]
BACKGROUND_LEVEL = 12
_PLACE = 0.37  # of the room beside the part: neither at the frame's edge nor in its middle
_DEFECTS = 8


@dataclass(frozen=True, eq=False)
class Scene:
    """One frame.

    Attributes
    ----------
    image
        uint8 H x W x 3 (BGR).
    truth
        uint8 H x W, non-zero where a defect was drawn.
    part_xyxy
        The rectangle that the part fills; the same for every scene of a cover and size.
    """

    image: U8
    truth: U8
    part_xyxy: Box

    @property
    def cover(self) -> float:
        """The part's share of the frame, as it came out in whole pixels."""
        left, top, right, bottom = self.part_xyxy
        return (right - left) * (bottom - top) / self.truth.size


def part_box(size_wh: tuple[int, int], cover: float) -> Box:
    """Return the rectangle of the frame's shape that covers a share of it; 64 px a side at least."""
    width, height = (min(n, max(64, round(n * math.sqrt(cover)))) for n in size_wh)
    left, top = int((size_wh[0] - width) * _PLACE), int((size_wh[1] - height) * _PLACE)
    return left, top, left + width, top + height


def scene(seed: int, size_wh: tuple[int, int], cover: float) -> Scene:
    """Render a part with defects in its place, the same for the same arguments."""
    left, top, right, bottom = box = part_box(size_wh, cover)
    part = render_part(seed, (right - left, bottom - top), defects=_DEFECTS, whole_frame=True)
    noise = np.random.default_rng(seed).bytes(size_wh[0] * size_wh[1] * 3)
    image = np.frombuffer(noise, np.uint8).reshape(size_wh[1], size_wh[0], 3) // 64 + np.uint8(BACKGROUND_LEVEL)
    truth = np.zeros(image.shape[:2], np.uint8)
    place = slice(top, bottom), slice(left, right)
    image[place], truth[place] = part.image, part.mask
    return Scene(image, truth, box)
