"""From pixels to mm on the part: one pitch for the whole frame, or a calibrated view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.optics.view import View

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]
# Between nodes the view is interpolated: measured, 0.02 px and 1e-5 of the area are lost with a strong lens.
_STEPS = 150
_MIN_STEP_PX = 4


@dataclass(frozen=True)
class SizeMm:
    """Edges of the smallest rectangle around a component, in any direction on the part."""

    length_mm: float
    width_mm: float


class Scale(Protocol):
    """What turns pixels of a frame into mm on the part."""

    @property
    def size_wh(self) -> tuple[int, int] | None:
        """The only size of frame that it is good for; None: any."""
        ...

    @property
    def varies(self) -> bool:
        """Whether pixels of a frame differ in area."""
        ...

    @property
    def largest_pixel_mm2(self) -> float:
        """Area of the largest pixel of the frame."""
        ...

    def points_mm(self, points_xy: F64) -> F64:
        """Map N x 2 px (x right, y down, pixel centres at integers) to mm."""
        ...

    def area_mm2(self, bitmap: U8, left: int, top: int) -> float:
        """Return the area of the set pixels of a bitmap (0/1) that lies there in the frame."""
        ...


class FlatScale:
    """Every pixel is a square of the same size."""

    size_wh = None
    varies = False

    def __init__(self, pixel_pitch_mm: float) -> None:
        self._pitch = pixel_pitch_mm
        self.largest_pixel_mm2 = pixel_pitch_mm * pixel_pitch_mm

    def points_mm(self, points_xy: F64) -> F64:
        return points_xy * self._pitch

    def area_mm2(self, bitmap: U8, left: int, top: int) -> float:
        return int(np.count_nonzero(bitmap)) * self.largest_pixel_mm2


class ViewScale:
    """A calibrated view. The frame stays as it is; what is found in it is measured through the view.

    Raises
    ------
    InputError
        The view does not reach every pixel of its frame.
    """

    varies = True

    def __init__(self, view: View) -> None:
        self.size_wh = view.size_wh
        width, height = view.size_wh
        step = max(_MIN_STEP_PX, min(width, height) // _STEPS)
        xs, ys = (np.arange(-(-side // step) + 1) * float(step) for side in (width, height))
        # The last nodes stand on the frame's edge: a lens model need not hold beyond it.
        xs[-1], ys[-1] = width - 0.5, height - 0.5
        xs[0] = ys[0] = -0.5
        nodes = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        points, areas = view.to_mm(nodes)
        if not (np.isfinite(points).all() and np.isfinite(areas).all() and areas.min() > 0):
            raise InputError(
                f"the view does not hold over its whole frame of {width} x {height} px: its lens or plane folds inside; "
                "calibrate again with corners that reach the frame's edges"
            )
        self._xs, self._ys = xs.astype(np.float64), ys.astype(np.float64)
        self._points = points.reshape(len(ys), len(xs), 2)
        self._areas = areas.reshape(len(ys), len(xs))
        self.largest_pixel_mm2 = float(areas.max())

    def points_mm(self, points_xy: F64) -> F64:
        (i, u), (j, v) = _between(self._xs, points_xy[:, 0]), _between(self._ys, points_xy[:, 1])
        u, v, grid = u[:, None], v[:, None], self._points
        upper = grid[j, i] * (1 - u) + grid[j, i + 1] * u
        lower = grid[j + 1, i] * (1 - u) + grid[j + 1, i + 1] * u
        mapped: F64 = upper * (1 - v) + lower * v
        return mapped

    def area_mm2(self, bitmap: U8, left: int, top: int) -> float:
        i, u = _between(self._xs, left + np.arange(bitmap.shape[1]))
        j, v = _between(self._ys, top + np.arange(bitmap.shape[0]))
        rows = self._areas[j] * (1 - v)[:, None] + self._areas[j + 1] * v[:, None]
        # Summed from node to node first, so that a component of millions of pixels costs two passes over its bits: how
        # many there are, and how far they lie on the way to the next node.
        starts = np.flatnonzero(np.diff(i, prepend=-1))
        here = i[starts]
        count = np.add.reduceat(bitmap, starts, axis=1, dtype=np.float64)
        beyond = np.add.reduceat(bitmap * u.astype(np.float32), starts, axis=1, dtype=np.float64)
        return float(((count - beyond) * rows[:, here] + beyond * rows[:, here + 1]).sum())


def size_mm(scale: Scale, bitmap: U8, left: int, top: int) -> SizeMm:
    """Measure the smallest rectangle on the part that holds the set pixels of a bitmap, with their whole area."""
    rows = np.flatnonzero(bitmap.any(axis=1))
    first = bitmap[rows].argmax(axis=1)
    last = bitmap.shape[1] - bitmap[rows, ::-1].argmax(axis=1)
    x, y = np.concatenate([first, last]) + (left - 0.5), np.concatenate([rows, rows]) + (top - 0.5)
    corners = np.concatenate([np.stack([x, y], axis=1), np.stack([x, y + 1.0], axis=1)])
    points = scale.points_mm(corners)
    _, edges, _ = cv2.minAreaRect((points - points.mean(axis=0)).astype(np.float32))
    return SizeMm(length_mm=float(max(edges)), width_mm=float(min(edges)))


def other_size(scale: Scale | None, size_wh: tuple[int, int]) -> tuple[str, ...]:
    """Say why a frame of this size cannot be measured; nothing when it can."""
    seen = None if scale is None else scale.size_wh
    if seen is None or seen == tuple(size_wh):
        return ()
    return (
        f"frame is {size_wh[0]} x {size_wh[1]} px, the view was calibrated at {seen[0]} x {seen[1]}; set the camera as it was, "
        "or calibrate again",
    )


def _between(nodes: F64, at: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], F64]:
    """Return the node before each place, and how far on the way to the next one it is, 0-1."""
    index = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, len(nodes) - 2)
    share: F64 = (at - nodes[index]) / (nodes[index + 1] - nodes[index])
    return index, share
