"""The calibrated view of one camera as a file: lens, plane of the part, and how well both are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, FiniteFloat, model_validator

from jetspect.errors import ConfigError, InputError
from jetspect.runtime.optics.lens import distort, undistort
from jetspect.runtime.publishing.messages import Utc
from jetspect.runtime.settings import Settings, parse_settings

F64 = npt.NDArray[np.float64]
VERSION = 1
_NEEDS = "calibrate again with jetspect camera calibrate"
_ROW = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
_MAX_SIDE_PX = 65536


def _invertible(rows: tuple[_ROW, _ROW, _ROW]) -> tuple[_ROW, _ROW, _ROW]:
    if np.linalg.matrix_rank(np.array(rows)) < 3:
        raise ValueError("is a matrix without an inverse")
    return rows


Matrix = Annotated[tuple[_ROW, _ROW, _ROW], AfterValidator(_invertible)]
Side = Annotated[int, Field(ge=1, le=_MAX_SIDE_PX)]


class BoardInfo(Settings):
    """The board that was seen."""

    kind: Literal["checkerboard", "charuco"]
    squares: tuple[int, int] = Field(description="Squares along and across")
    square_mm: FiniteFloat = Field(gt=0, description="Edge of one square")


class FitInfo(Settings):
    """How well a view fits what was seen."""

    reprojection_px: FiniteFloat = Field(ge=0, description="RMS between corners seen and computed, over all images")
    plane_rms_mm: FiniteFloat = Field(ge=0, description="RMS on the part, over the corners of the board that lay on it")
    plane_max_mm: FiniteFloat = Field(ge=0, description="The largest of them")
    images: tuple[str, ...] = Field(description="Names of the images it was computed from")
    plane_image: str = Field(description="The one that shows the board on the part")


class View(Settings):
    """From pixels of the raw image to mm on the surface of the part.

    The origin is the centre of the top left pixel; x runs right and y down where the image's centre is.
    """

    version: Literal[1] = 1
    created: Utc
    size_wh: tuple[Side, Side] = Field(description="Width and height of the images in px; others are not measured")
    camera_matrix: Matrix | None = Field(None, description="Of the pinhole camera, px; null: lens not corrected")
    distortion: tuple[FiniteFloat, ...] = Field((), description="k1, k2, p1, p2, k3 and maybe k4, k5, k6, as in OpenCV")
    plane: Matrix = Field(description="Homography from undistorted px to mm on the part")
    board: BoardInfo
    fit: FitInfo

    @model_validator(mode="after")
    def _consistent(self) -> View:
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

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises InputError where that fails."""
        draft = path.with_name(f".{path.name}.tmp")
        try:
            draft.write_text(self.model_dump_json(indent=2) + "\n", "utf-8")
            draft.replace(path)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise InputError(f"view {path} cannot be written: {error.strerror or error}") from error


def load_view(path: Path) -> View:
    """Read a view. Raises ConfigError where it cannot be read, is damaged, or is of a newer version."""
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(str(path), [f"view cannot be read: {error.strerror or error}; {_NEEDS}"]) from error
    except ValueError as error:  # json's and that of UTF-8
        raise ConfigError(str(path), [f"is not a view, which is JSON: {error}"]) from error
    if not isinstance(data, dict):
        raise ConfigError(str(path), ["is not a view: an object is needed"])
    version = data.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ConfigError(
            str(path), [f"is a view of version {version}; this jetspect reads up to {VERSION}: update it"]
        )
    return parse_settings(data, View, where=str(path))
