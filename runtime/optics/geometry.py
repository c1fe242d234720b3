"""From pixels of a raw image to mm on the part: a lens, then a plane."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from jetspect.runtime.optics.lens import distort, undistort
from jetspect.runtime.settings import Settings

F64 = npt.NDArray[np.float64]
_ROW = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
_MAX_SIDE_PX = 65536


def _invertible(rows: tuple[_ROW, _ROW, _ROW]) -> tuple[_ROW, _ROW, _ROW]:
    # Rows differ in unit, so they are compared by their directions.
    matrix = np.array(rows)
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    if not lengths.all() or np.linalg.matrix_rank(matrix / lengths) < 3:
        raise ValueError("is a matrix without an inverse")
    return rows


Matrix = Annotated[tuple[_ROW, _ROW, _ROW], AfterValidator(_invertible)]
Side = Annotated[int, Field(ge=1, le=_MAX_SIDE_PX)]


class Geometry(Settings):
    """How one camera sees one plane. Points are N x 2: x right, y down, pixel centres at integers."""

    size_wh: tuple[Side, Side] = Field(description="Width and height of the images in px; others are not measured")
    camera_matrix: Matrix | None = Field(None, description="Of the pinhole camera, px; null: lens not corrected")
    distortion: tuple[FiniteFloat, ...] = Field((), description="k1, k2, p1, p2, k3 and maybe k4, k5, k6, as in OpenCV")
    plane: Matrix = Field(description="Homography from undistorted px to mm on the part")

    @model_validator(mode="after")
    def _consistent(self) -> Geometry:
        if len(self.distortion) not in (0, 5, 8):
            raise ValueError(f"distortion has {len(self.distortion)} coefficients; none, 5 or 8 are known")
        if self.distortion and self.camera_matrix is None:
            raise ValueError("distortion needs a camera_matrix")
        if self.camera_matrix is not None:
            matrix = np.array(self.camera_matrix)
            focal, centre = self._pinhole()
            if (
                not np.array_equal(matrix, [[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
                or focal.min() <= 0
            ):
                raise ValueError("camera_matrix must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]")
        return self

    def to_mm(self, points_xy: F64) -> tuple[F64, F64]:
        """Map N x 2 px to N x 2 mm on the part, and give the area of one pixel there, mm2; NaN where neither is known."""
        points, grown = points_xy, np.ones(len(points_xy))
        if self.camera_matrix is not None:
            focal, centre = self._pinhole()
            points, grown = undistort((points - centre) / focal, self.distortion)
            points = points * focal + centre
        plane = np.array(self.plane)
        mapped = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ plane.T
        depth = mapped[:, 2]
        # All of the frame lies on the same side of the horizon as the centre, where the file is good.
        with np.errstate(all="ignore"):
            return mapped[:, :2] / depth[:, None], np.linalg.det(plane) / depth**3 * grown

    def to_px(self, points_mm: F64) -> F64:
        """Map N x 2 mm on the part to N x 2 px of the raw image."""
        mapped = np.concatenate([points_mm, np.ones((len(points_mm), 1))], axis=1) @ np.linalg.inv(self.plane).T
        points: F64 = mapped[:, :2] / mapped[:, 2:]
        if self.camera_matrix is None:
            return points
        focal, centre = self._pinhole()
        bent: F64 = distort((points - centre) / focal, self.distortion)[0] * focal + centre
        return bent

    def _pinhole(self) -> tuple[F64, F64]:
        matrix = np.array(self.camera_matrix)
        return np.array([matrix[0, 0], matrix[1, 1]]), matrix[:2, 2]
