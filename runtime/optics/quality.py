"""What a calibration is worth: how the scale varies over the frame, and what was not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetspect.runtime.optics.solve import Solution

_UNSEEN = 0.12  # of the frame's width or height, without a corner
_FEW = 8


@dataclass(frozen=True)
class Quality:
    """Numbers for people.

    Attributes
    ----------
    pitch_mm
        Edge of a pixel on the part, in the frame's centre and its corners.
    area_wrong
        By how much an area would be wrong that is measured with the centre's pitch all over the frame: least and most, as
        shares of the true one.
    warnings
        What weakens the calibration.
    """

    pitch_mm: dict[str, float]
    area_wrong: tuple[float, float]
    warnings: tuple[str, ...]


def assess(solution: Solution) -> Quality:
    """Describe a solution."""
    width, height = solution.view.size_wh
    places = {
        "centre": ((width - 1) / 2, (height - 1) / 2),
        "top left": (0.0, 0.0),
        "top right": (width - 1.0, 0.0),
        "bottom left": (0.0, height - 1.0),
        "bottom right": (width - 1.0, height - 1.0),
    }
    areas = solution.view.to_mm(np.array(list(places.values())))[1]
    raster = np.stack(np.meshgrid(np.linspace(0, width - 1, 41), np.linspace(0, height - 1, 41)), axis=-1)
    all_over = solution.view.to_mm(raster.reshape(-1, 2))[1]
    wrong = areas[0] / all_over - 1
    return Quality(
        pitch_mm={name: float(np.sqrt(area)) for name, area in zip(places, areas, strict=True)},
        area_wrong=(float(wrong.min()), float(wrong.max())),
        warnings=tuple(_warnings(solution)),
    )


def _warnings(solution: Solution) -> list[str]:
    told = []
    lens = solution.view.camera_matrix is not None
    if not lens:
        told.append(
            "one view corrects perspective only: bending of lines by the lens stays in (for that, at least 5 views and a lens)"
        )
    elif len(solution.seen) < _FEW:
        told.append(f"{len(solution.seen)} views are few for a lens; {_FEW} and more make it surer")
    corners = np.concatenate([s.corners_px for s in solution.seen])
    size = np.array(solution.view.size_wh)
    gaps = np.concatenate([corners.min(axis=0), size - 1 - corners.max(axis=0)]) / np.tile(size, 2)
    for name, gap in zip(("left", "upper", "right", "lower"), gaps.tolist(), strict=True):
        if gap > _UNSEEN:
            told.append(f"no corner was seen in the {name} {gap:.0%} of the frame; what is measured there is a guess")
    return told
