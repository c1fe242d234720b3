"""From boards seen in images to a calibrated view: lens, and the plane that one of the boards lies on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.frames import utc_now
from jetspect.runtime.optics.board import Board, Sighting
from jetspect.runtime.optics.geometry import Geometry
from jetspect.runtime.optics.pinhole import LEAST_VIEWS, Lens, solve_pinhole
from jetspect.runtime.optics.scale import ViewScale
from jetspect.runtime.optics.view import BoardInfo, FitInfo, View

F64 = npt.NDArray[np.float64]
_REACH = "calibrate again with corners that reach the frame's edges"


@dataclass(frozen=True, eq=False)
class Solution:
    """A view and what it was computed from.

    Attributes
    ----------
    plane
        The board that lay on the part.
    seen
        All boards that were used, that one among them.
    errors_px
        For each of ``seen``, RMS between corners seen and computed.
    residuals_mm
        N x 2: for each corner of ``plane``, where the view puts it less where it is on the board.
    """

    view: View
    plane: Sighting
    seen: tuple[Sighting, ...]
    errors_px: tuple[float, ...]
    residuals_mm: F64


def solve(
    seen: Sequence[Sighting], plane: int, board: Board, *, lens: Lens = "standard", max_error_px: float = 0.5
) -> Solution:
    """Compute the view from boards; the one at index ``plane`` lies on the part.

    Without a lens only that one is used, and the camera is taken for one that keeps straight lines straight.

    Raises
    ------
    InputError
        The images differ in size; too few or too similar views for a lens; an error above ``max_error_px``; a lens that
        does not hold over the whole frame.
    """
    sizes = {s.size_wh for s in seen}
    if len(sizes) > 1:
        told = ", ".join(f"{w} x {h}" for w, h in sorted(sizes))
        raise InputError(f"images have different sizes ({told} px); a view is good for one: leave the others out")
    at = seen[plane]
    matrix: F64 | None = None
    distortion: tuple[float, ...] = ()
    if lens == "none":
        seen = [at]
        to_px = np.asarray(cv2.findHomography(at.corners_mm, at.corners_px)[0], np.float64)
        errors: tuple[float, ...] = (_rms(_mapped(to_px, at.corners_mm) - at.corners_px),)
    else:
        camera = solve_pinhole(seen, lens)
        matrix, distortion, errors, to_px = camera.matrix, camera.distortion, camera.errors_px, camera.planes[plane]
    overall = float(np.sqrt(np.average(np.square(errors), weights=[len(s.corners_px) for s in seen])))
    if not overall <= max_error_px:
        worst = int(np.argmax(errors))
        raise InputError(
            f"the view fits with an error of {overall:.2f} px, at most {max_error_px:g} is allowed; the worst image is "
            f"{seen[worst].name} with {errors[worst]:.2f} px: {_advice(lens)}"
        )
    plane_mm, turned = _straight(np.asarray(np.linalg.inv(to_px), np.float64), at.size_wh, matrix, distortion)
    geometry = _geometry(at.size_wh, plane_mm, matrix, distortion)
    residuals = geometry.to_mm(at.corners_px)[0] - _mapped(turned, at.corners_mm)
    fit = FitInfo(
        reprojection_px=overall,
        plane_rms_mm=_rms(residuals),
        plane_max_mm=float(np.hypot(*residuals.T).max()),
        images=tuple(s.name for s in seen),
        plane_image=at.name,
    )
    about = BoardInfo(kind=board.kind, squares=board.squares, square_mm=board.square_mm)
    view = View(**geometry.model_dump(), created=utc_now(), board=about, fit=fit)
    ViewScale(view)  # refuses what does not hold over the whole frame
    return Solution(view, at, tuple(seen), errors, residuals)


def _geometry(size_wh: tuple[int, int], plane: F64, matrix: F64 | None, distortion: tuple[float, ...]) -> Geometry:
    return Geometry.model_validate(
        {
            "size_wh": size_wh,
            "camera_matrix": None if matrix is None else matrix.tolist(),
            "distortion": distortion,
            "plane": plane.tolist(),
        }
    )


def _straight(
    plane: F64, size_wh: tuple[int, int], matrix: F64 | None, distortion: tuple[float, ...]
) -> tuple[F64, F64]:
    """Lay the board's mm along the image.

    Returns
    -------
    Homography from undistorted px to mm with their origin in the top left pixel and x along the image's rows at its
    centre; and the same move for mm of the board.
    """
    middle = (np.array(size_wh) - 1) / 2
    marks = np.stack([np.zeros(2), middle, middle + np.array([1, 0]), middle + np.array([0, 1])])
    (corner, centre, right, below), _ = _geometry(size_wh, plane, matrix, distortion).to_mm(marks)
    if not np.isfinite([corner, centre, right, below]).all():
        raise InputError(f"the view does not hold over its whole frame: its lens folds inside; {_REACH}")
    x, down = (right - centre) / np.hypot(*(right - centre)), below - centre
    y = np.array([-x[1], x[0]])
    if y @ down < 0:  # a mirror in the way, or corners counted the other way round
        y = -y
    turn = np.eye(3)
    turn[:2, :2] = [x, y]
    turn[:2, 2] = -turn[:2, :2] @ corner
    moved = turn @ plane
    # Written so that one px stays one px in the middle; a homography has a free factor.
    return moved / (moved[2] @ (*middle, 1.0)), turn


def _advice(lens: Lens) -> str:
    if lens == "none":
        return f"a lens that bends lines wants --lens standard and at least {LEAST_VIEWS} views; else mind the board's flatness"
    if lens == "standard":
        return "leave it out, mind motion, focus and the board's flatness, or try --lens rational"
    return "leave it out, mind motion, focus and the board's flatness"


def _mapped(homography: F64, points: F64) -> F64:
    there = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ homography.T
    mapped: F64 = there[:, :2] / there[:, 2:]
    return mapped


def _rms(errors: F64) -> float:
    return float(np.sqrt(np.mean(np.sum(errors * errors, axis=1))))
