"""Pictures of a calibration board taken by a camera that is known exactly: the truth that calibration must come back to."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.optics.board import Board
from jetspect.runtime.optics.lens import undistort
from jetspect.runtime.optics.printing import margin_mm, raster

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """The board before the camera: turned by degrees about x, y and z, its centre at mm."""

    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 120.0)


@dataclass(frozen=True)
class Camera:
    """A pinhole with a lens."""

    size_wh: tuple[int, int] = (800, 600)
    focal_px: float = 1100.0
    centre_px: tuple[float, float] = (409.0, 292.0)
    distortion: tuple[float, ...] = (-0.32, 0.14, 0.0008, -0.0006, 0.0)

    @property
    def matrix(self) -> F64:
        return np.array([[self.focal_px, 0, self.centre_px[0]], [0, self.focal_px, self.centre_px[1]], [0, 0, 1]])

    def to_px(self, points_mm: F64, board: Board, pose: Pose) -> F64:
        """Where points of the board are seen: OpenCV's projection, not ours."""
        rvec, tvec = self._place(board, pose)
        flat = np.concatenate([points_mm, np.zeros((len(points_mm), 1))], axis=1)
        return cv2.projectPoints(flat, rvec, tvec, self.matrix, np.array(self.distortion))[0].reshape(-1, 2)

    def to_mm(self, points_px: F64, board: Board, pose: Pose) -> F64:
        """What of the board is seen there."""
        rvec, tvec = self._place(board, pose)
        rotation = cv2.Rodrigues(rvec)[0]
        plane = np.linalg.inv(np.stack([rotation[:, 0], rotation[:, 1], tvec], axis=1))
        ideal, _ = undistort((points_px - self.centre_px) / self.focal_px, self.distortion)
        mapped = np.concatenate([ideal, np.ones((len(ideal), 1))], axis=1) @ plane.T
        return mapped[:, :2] / mapped[:, 2:]

    def picture(self, board: Board, pose: Pose, seed: int = 0) -> U8:
        """The board as this camera sees it, a little soft and with noise."""
        width, height = self.size_wh
        # The board is looked up at nodes 4 px apart and interpolated: 0.001 px are lost. cv2.resize would lose 0.4.
        xs, ys = (np.arange(-1, side // 4 + 2) * 4.0 for side in (width, height))
        nodes = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        page = raster(board)
        per_mm = page.shape[1] / (board.size_mm[0] + 2 * margin_mm(board))
        there = ((self.to_mm(nodes, board, pose) + margin_mm(board)) * per_mm - 0.5).reshape(len(ys), len(xs), 2)
        (i, u), (j, v) = (_between(nodes, 2 * side) for nodes, side in ((xs, width), (ys, height)))
        rows = there[j] * (1 - v)[:, None, None] + there[j + 1] * v[:, None, None]
        at = (rows[:, i] * (1 - u)[:, None] + rows[:, i + 1] * u[:, None]).astype(np.float32)
        large = cv2.remap(page, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=200)
        small = cv2.resize(cv2.GaussianBlur(large, (0, 0), 1.4), (width, height), interpolation=cv2.INTER_AREA)
        noise = np.random.default_rng(seed).normal(0, 2, small.shape)
        return np.clip(small * 0.75 + 30 + noise, 0, 255).astype(np.uint8)

    def _place(self, board: Board, pose: Pose) -> tuple[F64, F64]:
        rotation = np.eye(3)
        for axis, degrees in zip(np.eye(3), pose.turn_deg, strict=True):
            rotation = cv2.Rodrigues(axis * np.deg2rad(degrees))[0] @ rotation
        middle = np.array([*board.size_mm, 0.0]) / 2
        return cv2.Rodrigues(rotation)[0], np.array(pose.centre_mm) - rotation @ middle


def _between(nodes: F64, samples: int) -> tuple[npt.NDArray[np.intp], F64]:
    """For two samples in each pixel: the node before it, and how far on the way to the next one it is."""
    at = (np.arange(samples) + 0.5) / 2 - 0.5
    index = np.searchsorted(nodes, at, side="right") - 1
    return index, (at - nodes[index]) / (nodes[1] - nodes[0])


TRUTH = Camera()
BOARD = Board(squares=(12, 9), square_mm=6.0)
CHARUCO = Board(kind="charuco", squares=(14, 10), square_mm=6.0)
# The last one lies on the part, a little turned as cameras are.
POSES = (
    Pose((25, 0, 0), (0, 3, 130)),
    Pose((-25, 5, 10), (5, 0, 130)),
    Pose((0, 28, -5), (-4, -3, 130)),
    Pose((5, -28, 3), (6, 2, 130)),
    Pose((20, 20, 90), (0, 0, 150)),
    Pose((8, -6, 2), (0, 0, 125)),
)
ON_PART = POSES[-1]
