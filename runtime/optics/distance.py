"""Pixel pitch from known distances: the simplest calibration, for views without perspective and a lens that does not bend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jetspect.errors import InputError

# A place is read off a picture to about half a pixel; two of them make a distance.
_READ_PX = 0.7
_SPREAD = 0.01


@dataclass(frozen=True)
class Span:
    """Two points of an image, px, and how far they are apart on the part."""

    from_xy: tuple[float, float]
    to_xy: tuple[float, float]
    distance_mm: float

    @property
    def length_px(self) -> float:
        return math.dist(self.from_xy, self.to_xy)

    @property
    def pitch_mm(self) -> float:
        return self.distance_mm / self.length_px


@dataclass(frozen=True)
class Pitch:
    """Pixel pitch from spans.

    Attributes
    ----------
    spread
        Largest less smallest pitch, as a share of the mean; 0 for one span.
    reading
        How far off the mean may be because points are read to half a pixel, as a share of it.
    """

    pixel_pitch_mm: float
    spread: float
    reading: float
    warnings: tuple[str, ...]


def pitch_of(spans: Sequence[Span]) -> Pitch:
    """Average the pitch of spans; longer ones weigh more. Raises InputError for spans that cannot be one."""
    if not spans:
        raise InputError("no distance is given; name two points of the image and how far they are apart")
    for span in spans:
        if not (math.isfinite(span.length_px) and span.length_px >= 2):
            raise InputError(
                f"points {span.from_xy} and {span.to_xy} are {span.length_px:g} px apart; at least 2 are needed"
            )
        if not (math.isfinite(span.distance_mm) and span.distance_mm > 0):
            raise InputError(f"a distance must be above 0 mm; got {span.distance_mm:g}")
    length = sum(s.length_px for s in spans)
    mean = sum(s.distance_mm for s in spans) / length
    spread = (max(s.pitch_mm for s in spans) - min(s.pitch_mm for s in spans)) / mean
    reading = _READ_PX / length * math.sqrt(len(spans))
    warnings = []
    if len(spans) == 1:
        warnings.append("one distance cannot show perspective or a lens that bends; give a second one across it")
    elif spread > max(_SPREAD, 4 * reading):
        warnings.append(
            f"the distances disagree by {spread:.1%}: perspective, a lens that bends, or a slip; a board corrects the first two"
        )
    if reading > _SPREAD:
        warnings.append(f"points so near to each other leave the pitch open by {reading:.1%}; take them further apart")
    return Pitch(mean, spread, reading, tuple(warnings))
