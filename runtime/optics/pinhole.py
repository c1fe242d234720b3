"""Lens and poses of a camera from several views of a board (Zhang 2000, as OpenCV does it)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.optics.board import Sighting

F64 = npt.NDArray[np.float64]
Lens = Literal["none", "standard", "rational"]
LEAST_VIEWS = 5
_COEFFICIENTS: dict[Lens, int] = {"none": 0, "standard": 5, "rational": 8}
# k3 is left out of the standard model: with views of one distance it only bends the frame's edges.
_FLAGS: dict[Lens, int] = {"none": 0, "standard": cv2.CALIB_FIX_K3, "rational": cv2.CALIB_RATIONAL_MODEL}
_LEAST_TURN_DEG = 10.0
_UNSURE = 0.02  # of the focal length, standard deviation
_MOVED = 0.02  # of the image's diagonal: boards of which no corner moved more are one view
_ADVICE = "turn the board by 15 to 40 degrees about different axes between images"


@dataclass(frozen=True, eq=False)
class Pinhole:
    """What the views say of the camera.

    Attributes
    ----------
    planes
        For each view the homography from mm on its board to undistorted px.
    errors_px
        For each view, RMS between corners seen and computed.
    """

    matrix: F64
    distortion: tuple[float, ...]
    planes: tuple[F64, ...]
    errors_px: tuple[float, ...]


def is_new(sighting: Sighting, others: Sequence[Sighting], *, least: float = _MOVED) -> bool:
    """Whether a board is somewhere else than in all the others, by a share of the image's diagonal."""
    least_px = least * float(np.hypot(*sighting.size_wh))
    return all(_moved(sighting, other) > least_px for other in others)


def solve_pinhole(seen: Sequence[Sighting], lens: Lens) -> Pinhole:
    """Compute camera and poses.

    Raises
    ------
    InputError
        The views are too few, or so much alike that they leave the camera open.
    """
    different: list[Sighting] = []
    for sighting in seen:
        if is_new(sighting, different):
            different.append(sighting)
    if len(different) < LEAST_VIEWS:
        alike = "" if len(different) == len(seen) else f", and only {len(different)} of them differ"
        raise InputError(
            f"{len(seen)} image{'s' * (len(seen) != 1)} with a board{alike}: a lens needs at least {LEAST_VIEWS} different "
            f"views; {_ADVICE}, or leave the lens out (--lens none)"
        )
    objects = [np.pad(s.corners_mm, ((0, 0), (0, 1))).astype(np.float32) for s in seen]
    images = [s.corners_px.astype(np.float32) for s in seen]
    start = np.eye(3), np.zeros(_COEFFICIENTS[lens])
    try:
        _, found, bent, turns, places, spread, _, errors = cv2.calibrateCameraExtended(
            objects, images, seen[0].size_wh, *start, flags=_FLAGS[lens]
        )
    except cv2.error as error:
        raise InputError(f"no camera fits these views ({error.err}); {_ADVICE}") from error
    matrix = np.asarray(found, np.float64)
    rotations = [np.asarray(cv2.Rodrigues(turn)[0], np.float64) for turn in turns]
    _refuse_alike(matrix, np.asarray(spread, np.float64).ravel(), rotations)
    poses = [
        np.stack([r[:, 0], r[:, 1], np.asarray(place, np.float64).ravel()], axis=1)
        for r, place in zip(rotations, places, strict=True)
    ]
    return Pinhole(
        matrix=matrix,
        distortion=tuple(np.ravel(bent)[: _COEFFICIENTS[lens]].tolist()),
        planes=tuple(matrix @ pose for pose in poses),
        errors_px=tuple(np.ravel(errors).tolist()),
    )


def _refuse_alike(matrix: F64, spread: F64, rotations: list[F64]) -> None:
    cosines = [float(a[:, 2] @ b[:, 2]) for a, b in combinations(rotations, 2)]
    turned = float(np.rad2deg(np.arccos(np.clip(min(cosines), -1, 1))))
    if not turned >= _LEAST_TURN_DEG:
        raise InputError(
            f"the views are too similar: the board is turned by {turned:.1f} degrees at most, {_LEAST_TURN_DEG:g} are needed; "
            f"{_ADVICE}"
        )
    unsure = float(max(spread[0] / matrix[0, 0], spread[1] / matrix[1, 1]))
    if not unsure <= _UNSURE:
        raise InputError(
            f"the views are too similar: they leave the focal length open by {unsure:.1%}, at most {_UNSURE:.0%} is allowed; "
            f"{_ADVICE}"
        )


def _moved(a: Sighting, b: Sighting) -> float:
    """Return how far the corner that moved most moved, px; a board seen in other parts counts as moved."""
    there = {tuple(mm): px for mm, px in zip(b.corners_mm.tolist(), b.corners_px, strict=True)}
    shared = [
        float(np.hypot(*(px - there[key])))
        for mm, px in zip(a.corners_mm.tolist(), a.corners_px, strict=True)
        if (key := tuple(mm)) in there
    ]
    return max(shared, default=np.inf)
