"""The lens model of OpenCV (Brown and Conrady, with its rational extension) and its inverse, on normalised coordinates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
_STEPS = 20
_CLOSE = 1e-12
_HELD = 1e-9


def distort(points: F64, coefficients: tuple[float, ...]) -> tuple[F64, F64]:
    """Return where a lens puts points of an ideal camera, and how it bends the picture there.

    Parameters
    ----------
    points
        N x 2, on the plane at distance 1 before the camera.
    coefficients
        k1, k2, p1, p2, k3 and, in the rational model, k4, k5, k6; none: no lens.

    Returns
    -------
    N x 2 points; N x 2 x 2 derivatives of them by the given ones.
    """
    k1, k2, p1, p2, k3, k4, k5, k6 = (*coefficients, *(0.0,) * (8 - len(coefficients)))
    x, y = points[:, 0], points[:, 1]
    r2 = x * x + y * y
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = above / below
    slope = (k1 + r2 * (2 * k2 + 3 * r2 * k3) - radial * (k4 + r2 * (2 * k5 + 3 * r2 * k6))) / below
    moved = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=1,
    )
    mixed = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
    bend = np.empty((len(points), 2, 2))
    bend[:, 0, 0] = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    bend[:, 1, 1] = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
    bend[:, 0, 1] = bend[:, 1, 0] = mixed
    return moved, bend


def undistort(points: F64, coefficients: tuple[float, ...]) -> tuple[F64, F64]:
    """Return where an ideal camera would see points, and the local area there for each unit of area here.

    A point that the lens cannot have sent there, because the polynomial folds back before it, comes out as NaN.
    """
    if not any(coefficients):
        return points, np.ones(len(points))
    with np.errstate(all="ignore"):  # a diverging point ends as NaN below
        found = points.copy()
        for _ in range(_STEPS):
            there, bend = distort(found, coefficients)
            error = there - points
            det = bend[:, 0, 0] * bend[:, 1, 1] - bend[:, 0, 1] * bend[:, 1, 0]
            step_x = (bend[:, 1, 1] * error[:, 0] - bend[:, 0, 1] * error[:, 1]) / det
            step_y = (bend[:, 0, 0] * error[:, 1] - bend[:, 1, 0] * error[:, 0]) / det
            found -= np.stack([step_x, step_y], axis=1)
            if np.nanmax(np.abs(error), initial=0.0) < _CLOSE:
                break
        there, bend = distort(found, coefficients)
        det = bend[:, 0, 0] * bend[:, 1, 1] - bend[:, 0, 1] * bend[:, 1, 0]
        # Upright and unfolded: past a fold one side of the bend is negative.
        held = (np.abs(there - points).max(axis=1) < _HELD) & (det > 0) & (bend[:, 0, 0] + bend[:, 1, 1] > 0)
        found[~held] = np.nan
        return found, np.where(held, 1 / det, np.nan)
