"""The calibration board: its geometry, and where its corners are in an image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from jetspect.errors import InputError
from jetspect.runtime.settings import Settings

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]
# The search gets slow and no surer above; corners are then refined in the full image.
_SEARCH_PX = 1600
_LEAST_CORNERS = 8
_WINDOW = 0.3  # of the distance to the next corner: a wider one would see its edges too
_BESIDE_MARKER = 0.85  # of the distance from a corner to the markers around it
_MAX_WINDOW_PX = 24


class Board(Settings):
    """A checkerboard, or a ChArUco board, of which a part is enough to be seen."""

    kind: Literal["checkerboard", "charuco"] = "checkerboard"
    squares: tuple[int, int] = Field(description="Squares along x and y, the outermost counted")
    square_mm: float = Field(gt=0, le=10_000, allow_inf_nan=False, description="Edge of one square, measured")
    marker_mm: float | None = Field(None, gt=0, description="charuco: edge of a marker; None: 3/4 of a square")
    dictionary: str = Field("DICT_4X4_250", description="charuco: OpenCV's name of the markers")

    @model_validator(mode="after")
    def _possible(self) -> Board:
        if min(self.squares) < 4 or max(self.squares) > 100:
            raise ValueError(f"squares must be 4 to 100 each way, like 9x6; got {self.squares[0]}x{self.squares[1]}")
        if self.marker_mm is not None and self.marker_mm >= self.square_mm:
            raise ValueError(f"marker_mm ({self.marker_mm:g}) must be smaller than square_mm ({self.square_mm:g})")
        if self.kind == "charuco":
            markers = len(self._dictionary().bytesList)
            if self.squares[0] * self.squares[1] // 2 > markers:
                raise ValueError(f"{self.dictionary} has {markers} markers, fewer than this board needs")
        elif "marker_mm" in self.model_fields_set and self.marker_mm is not None:
            raise ValueError("marker_mm is for a charuco board")
        return self

    @property
    def size_mm(self) -> tuple[float, float]:
        return self.squares[0] * self.square_mm, self.squares[1] * self.square_mm

    def __str__(self) -> str:
        return f"{self.kind} of {self.squares[0]}x{self.squares[1]} squares of {self.square_mm:g} mm"

    @property
    def edge_of_marker_mm(self) -> float:
        return self.marker_mm or 0.75 * self.square_mm

    def corners_mm(self) -> F64:
        """Return the inner corners in rows, N x 2, from the outer corner of the first square."""
        x, y = np.meshgrid(np.arange(1, self.squares[0]), np.arange(1, self.squares[1]))
        corners: F64 = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float64) * self.square_mm
        return corners

    def _dictionary(self) -> Any:
        number = getattr(cv2.aruco, self.dictionary, None) if self.dictionary.startswith("DICT_") else None
        if number is None:
            known = sorted(n for n in dir(cv2.aruco) if n.startswith("DICT_"))
            raise ValueError(f"dictionary {self.dictionary} is none of {', '.join(known)}")
        return cv2.aruco.getPredefinedDictionary(number)

    def charuco(self) -> Any:
        """Return OpenCV's description of the board."""
        return cv2.aruco.CharucoBoard(self.squares, self.square_mm, self.edge_of_marker_mm, self._dictionary())


@dataclass(frozen=True, eq=False)
class Sighting:
    """A board seen in one image.

    Attributes
    ----------
    corners_px, corners_mm
        N x 2 each, in the same order.
    """

    name: str
    size_wh: tuple[int, int]
    corners_px: F64
    corners_mm: F64


def parse_squares(text: str) -> tuple[int, int]:
    """Read ``9x6``. Raises InputError."""
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text.strip())
    if found is None:
        raise InputError(f"--squares is ALONGxACROSS, like 9x6; got {text!r}")
    return int(found[1]), int(found[2])


def find_board(image: U8, board: Board, name: str) -> Sighting | None:
    """Find a board in an image, uint8 H x W x 3 (BGR) or H x W; None where it is not seen."""
    grey = np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    height, width = grey.shape
    scale = min(1.0, _SEARCH_PX / max(height, width))
    small = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    found = (_checkerboard if board.kind == "checkerboard" else _charuco)(np.asarray(small, np.uint8), board)
    if found is None:
        return None
    corners, at_mm = found
    # resize keeps the edges of the image in place, not the centres of its pixels.
    corners = (corners + 0.5) / (small.shape[1] / width, small.shape[0] / height) - 0.5
    window = int(np.clip(_window(board) * _spacing(corners, at_mm, board.square_mm), 2, _MAX_WINDOW_PX))
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-3)
    fine = cv2.cornerSubPix(grey, corners.astype(np.float32).reshape(-1, 1, 2), (window, window), (-1, -1), criteria)
    return Sighting(name, (width, height), np.asarray(fine, np.float64).reshape(-1, 2), at_mm)


def _checkerboard(grey: U8, board: Board) -> tuple[F64, F64] | None:
    inner = board.squares[0] - 1, board.squares[1] - 1
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE
    ok, corners = cv2.findChessboardCornersSB(grey, inner, flags=flags)
    return (np.asarray(corners, np.float64).reshape(-1, 2), board.corners_mm()) if ok else None


def _charuco(grey: U8, board: Board) -> tuple[F64, F64] | None:
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board.charuco()).detectBoard(grey)
    if ids is None or len(ids) < _LEAST_CORNERS:
        return None
    at_mm = board.corners_mm()[np.asarray(ids).ravel()]
    if min(len(np.unique(at_mm[:, axis])) for axis in (0, 1)) < 2:
        return None  # on one line
    return np.asarray(corners, np.float64).reshape(-1, 2), at_mm


def _window(board: Board) -> float:
    if board.kind == "checkerboard":
        return _WINDOW
    return min(_WINDOW, _BESIDE_MARKER * (1 - board.edge_of_marker_mm / board.square_mm) / 2)


def _spacing(corners_px: F64, corners_mm: F64, square_mm: float) -> float:
    """Return the least distance in px between corners that are one square apart."""
    least = np.inf
    for order in (np.lexsort((corners_mm[:, 0], corners_mm[:, 1])), np.lexsort((corners_mm[:, 1], corners_mm[:, 0]))):
        near = np.isclose(np.linalg.norm(np.diff(corners_mm[order], axis=0), axis=1), square_mm)
        apart = np.linalg.norm(np.diff(corners_px[order], axis=0), axis=1)[near]
        least = min(least, float(apart.min(initial=np.inf)))
    return least
