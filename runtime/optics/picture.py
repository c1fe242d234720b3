"""A picture of a calibration: the corners that were seen, and how far off the view puts them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.optics.solve import Solution

U8 = npt.NDArray[np.uint8]
_LONGER_PX = 1600
_ARROW_PX = 24.0
# Okabe and Ito (BGR): told apart by colour-blind people too.
_SEEN, _OFF, _OTHERS = (115, 158, 0), (0, 94, 213), (233, 180, 86)


def draw_solution(image: U8, solution: Solution) -> U8:
    """Draw on the image of the plane: its corners green, errors orange and enlarged, corners of other images blue.

    Returns
    -------
    uint8 H x W x 3, 1600 px long.
    """
    scale = _LONGER_PX / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    shown = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.ascontiguousarray(cv2.cvtColor(shown // 2 + 96, cv2.COLOR_GRAY2BGR), np.uint8)
    for other in solution.seen:
        if other is not solution.plane:
            for point in other.corners_px * scale:
                cv2.circle(canvas, _at(point), 2, _OTHERS, -1, cv2.LINE_AA)
    seen = solution.plane.corners_px
    said = solution.view.to_px(solution.view.to_mm(seen)[0] - solution.residuals_mm)
    off = seen - said
    longest = float(np.hypot(*off.T).max())
    larger = _nice(_ARROW_PX / (longest * scale)) if longest > 0 else 1.0
    for point, error in zip(seen * scale, off * scale * larger, strict=True):
        cv2.circle(canvas, _at(point), 4, _SEEN, 1, cv2.LINE_AA)
        cv2.line(canvas, _at(point), _at(point + error), _OFF, 2, cv2.LINE_AA)
    fit = solution.view.fit
    told = f"errors x {larger:g}: RMS {fit.plane_rms_mm:.3g} mm, largest {fit.plane_max_mm:.3g} mm ({longest:.2f} px)"
    cv2.rectangle(canvas, (0, size[1] - 36), (size[0], size[1]), (255, 255, 255), -1)
    cv2.putText(canvas, told, (12, size[1] - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 1, cv2.LINE_AA)
    return canvas


def _at(point: npt.NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _nice(value: float) -> float:
    """Return 1, 2 or 5 times a power of ten, not above a value."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))
