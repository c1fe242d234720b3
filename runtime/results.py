"""What the inspector answers: defects, timings and a verdict for one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import numpy as np
import numpy.typing as npt

from jetspect.runtime.frames import LostCause, Shot


class Verdict(str, Enum):
    """OK: inspected and within the rules. NOK: outside them. UNKNOWN: not properly inspected, never taken as OK."""

    OK = "OK"
    NOK = "NOK"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True)
class Defect:
    """One connected component after thresholds, in frame pixels (x right, y down, pixel centres at integers).

    Attributes
    ----------
    area_px
        Number of pixels.
    box_xyxy
        Left, top, right, bottom; right and bottom are exclusive.
    centroid_xy
        Mean of the pixel coordinates.
    peak, mean
        Highest and mean probability over the component, 0-1 in steps of 1/255 (mean: exact quotient).
    polygon_xy
        Outer contour, simplified to 1 px.
    touches_border
        Whether it reaches the frame's edge, so that its size may be cut off.
    area_mm2, centroid_mm, length_mm, width_mm
        On the part, where the station knows its scale: area, place of the centroid from the centre of the top left pixel,
        and edges of the smallest rectangle around it in any direction.
    """

    class_name: str
    area_px: int
    box_xyxy: tuple[int, int, int, int]
    centroid_xy: tuple[float, float]
    peak: float
    mean: float
    polygon_xy: tuple[tuple[int, int], ...]
    touches_border: bool
    area_mm2: float | None = None
    centroid_mm: tuple[float, float] | None = None
    length_mm: float | None = None
    width_mm: float | None = None


@dataclass(frozen=True)
class Timings:
    """Wall time per stage of one inspection, in milliseconds.

    ``foreground_ms`` is all of a two-stage model's stage one, its engine included; ``engine_ms`` is stage two's.
    """

    checks_ms: float = 0.0
    foreground_ms: float = 0.0
    gather_ms: float = 0.0
    engine_ms: float = 0.0
    scatter_ms: float = 0.0
    postprocess_ms: float = 0.0
    verdict_ms: float = 0.0
    total_ms: float = 0.0

    @property
    def outside_engine_ms(self) -> float:
        return self.total_ms - self.engine_ms


@dataclass(frozen=True)
class ModelIdentity:
    """Which model, in which engine, gave an answer."""

    name: str
    version: str
    manifest_sha256: str
    precision: str
    engine: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model sees in one image, after post-processing.

    Attributes
    ----------
    mask
        uint8 H x W: 0 background, k class k-1.
    scores
        uint8 K x H x W: 255 times the probability.
    decision
        Probability that the image as a whole shows a defect, 0-1; None where the model does not decide on images.
    """

    mask: npt.NDArray[np.uint8]
    scores: npt.NDArray[np.uint8]
    decision: float | None = None


@dataclass(frozen=True)
class Inspection:
    """The result for one frame.

    ``decision`` is the probability that the image as a whole shows a defect, 0-1 in steps of 1/255; None for a bundle
    that does not decide so, and for a frame that was not judged. ``lost_cause`` is why the frame itself was lost, where it was.
    ``throttled`` is what slowed the device down meanwhile; empty where nothing did.
    """

    frame_id: str
    captured_at: datetime
    inspected_at: datetime
    verdict: Verdict
    reasons: tuple[str, ...]
    defects: tuple[Defect, ...]
    size_wh: tuple[int, int] | None
    model: ModelIdentity
    timings: Timings = field(default_factory=Timings)
    tiles: int = 0
    tiles_skipped: int = 0
    defects_truncated: int = 0
    part_id: str | None = None
    origin: str = ""
    decision: float | None = None
    exposure_us: float | None = None
    shot: Shot | None = None
    lost_cause: LostCause | None = None
    throttled: str = ""
