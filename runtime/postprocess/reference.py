"""From score map to defects on the CPU. This module defines the answer that every faster version must give.

For each class: pixels at or above the low threshold form the mask; opening and closing clean it; connected components
that hold a pixel at or above the high threshold (hysteresis) and respect the class's limits are defects. Outside the
frame nothing counts for dilation and everything counts for erosion, so a defect at the edge is not eaten away.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.optics.scale import Scale, size_mm
from jetspect.runtime.results import Defect

U8 = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # y0, x0, y1, x1, half-open
# Twice the reach of the largest closing and a little more: what is further apart cannot grow together.
APART_PX = 64


@dataclass(frozen=True, eq=False)
class Component:
    """One defect with its pixels.

    Attributes
    ----------
    box_yxyx
        Half-open, in frame pixels.
    bitmap
        uint8 0/1, the component inside its box.
    """

    class_index: int
    box_yxyx: Box
    bitmap: U8
    area_px: int
    sum_x: int
    sum_y: int
    sum_score: int
    peak: int


def level_of(probability: float) -> int:
    """Return the lowest uint8 score that reaches a probability; at least 1, so that nothing is not a defect."""
    return max(1, math.ceil(probability * 255.0 - 1e-9))


def least_area(spec: ClassSpec, pixel_area_mm2: float | None) -> int:
    """Return the smallest area in px that a class lets through."""
    if spec.min_area_mm2 is None or pixel_area_mm2 is None:
        return spec.min_area_px
    return max(spec.min_area_px, math.ceil(spec.min_area_mm2 / pixel_area_mm2 - 1e-9))


def find_components(
    score_map: U8,
    output: OutputContract,
    *,
    hot: Sequence[Sequence[Box]] | None = None,
    pixel_area_mm2: float | None = None,
) -> list[Component]:
    """Find all defects of a score map.

    Parameters
    ----------
    score_map
        uint8 K x H x W, 255 times the probability.
    hot
        Per class boxes, at least ``APART_PX`` px from each other, outside which every score is below the low threshold.
        Only saves time.
    pixel_area_mm2
        Area of one pixel, of the largest where they differ; needed where a class has a limit in mm2.

    Returns
    -------
    list of Component
        Ordered by class, then by first pixel in reading order.
    """
    found: list[Component] = []
    whole: list[Box] = [(0, 0, *score_map.shape[1:])]
    for k, spec in enumerate(output.classes):
        min_area = least_area(spec, pixel_area_mm2)
        of_class: list[Component] = []
        for box in whole if hot is None else hot[k]:
            of_class += _of_class(score_map[k], k, spec, output, box, min_area)
        found += sorted(of_class, key=_reading_order)
    return found


def _of_class(
    scores: U8, index: int, spec: ClassSpec, output: OutputContract, box: Box, min_area: int
) -> list[Component]:
    # Closing reaches 2 n px beyond the mask; one more keeps the crop's own edge empty.
    margin = 2 * max(output.open_px, output.close_px) + 1
    top, left = max(0, box[0] - margin), max(0, box[1] - margin)
    bottom, right = min(scores.shape[0], box[2] + margin), min(scores.shape[1], box[3] + margin)
    crop = scores[top:bottom, left:right]
    low, high = level_of(spec.threshold_low), level_of(spec.threshold)
    mask = _morphology(cv2.threshold(crop, low - 1, 255, cv2.THRESH_BINARY)[1].astype(np.uint8, copy=False), output)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=output.connectivity, ltype=cv2.CV_32S)
    areas = stats[:, cv2.CC_STAT_AREA]
    candidates = np.flatnonzero((areas >= min_area) & (areas <= (spec.max_area_px or crop.size)))
    found = []
    for label in candidates[candidates > 0] if count > 1 else ():
        x, y, w, h, _ = (int(v) for v in stats[label])
        if spec.max_aspect is not None and max(w, h) > spec.max_aspect * min(w, h):
            continue
        bitmap = (labels[y : y + h, x : x + w] == label).astype(np.uint8)
        inside = crop[y : y + h, x : x + w][bitmap.astype(bool)]
        if int(inside.max()) >= high:
            found.append(_measure(index, (y + top, x + left, y + top + h, x + left + w), bitmap, inside))
    return found


def _morphology(mask: U8, output: OutputContract) -> U8:
    for kind, reach in ((cv2.MORPH_OPEN, output.open_px), (cv2.MORPH_CLOSE, output.close_px)):
        if reach:
            kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
            mask = cv2.morphologyEx(mask, kind, kernel).astype(np.uint8, copy=False)
    return mask


def _measure(index: int, box: Box, bitmap: U8, inside: U8) -> Component:
    columns = bitmap.sum(axis=0, dtype=np.int64)
    rows = bitmap.sum(axis=1, dtype=np.int64)
    area = int(rows.sum())
    return Component(
        class_index=index,
        box_yxyx=box,
        bitmap=bitmap,
        area_px=area,
        sum_x=int(columns @ np.arange(columns.size)) + box[1] * area,
        sum_y=int(rows @ np.arange(rows.size)) + box[0] * area,
        sum_score=int(inside.sum(dtype=np.int64)),
        peak=int(inside.max()),
    )


def _reading_order(component: Component) -> tuple[int, int]:
    return component.box_yxyx[0], component.box_yxyx[1] + int(component.bitmap[0].argmax())


def largest(components: list[Component], limit: int | None) -> list[Component]:
    """Return the ``limit`` largest components in the order they came in; of equals the first."""
    if limit is None or len(components) <= limit:
        return components
    keep = sorted(range(len(components)), key=lambda i: -components[i].area_px)[:limit]
    return [components[i] for i in sorted(keep)]


def to_defect(
    component: Component, output: OutputContract, frame_hw: tuple[int, int], scale: Scale | None = None
) -> Defect:
    """Describe a component for people and messages; in mm too where a scale is given."""
    top, left, bottom, right = component.box_yxyx
    contours, _ = cv2.findContours(component.bitmap, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top))
    outline = cv2.approxPolyDP(max(contours, key=cv2.contourArea), 1.0, True).reshape(-1, 2)
    centroid = component.sum_x / component.area_px, component.sum_y / component.area_px
    defect = Defect(
        class_name=output.classes[component.class_index].name,
        area_px=component.area_px,
        box_xyxy=(left, top, right, bottom),
        centroid_xy=centroid,
        peak=component.peak / 255.0,
        mean=component.sum_score / component.area_px / 255.0,
        polygon_xy=tuple((int(x), int(y)) for x, y in outline),
        touches_border=top == 0 or left == 0 or bottom == frame_hw[0] or right == frame_hw[1],
    )
    if scale is None:
        return defect
    size = size_mm(scale, component.bitmap, left, top)
    (at,) = scale.points_mm(np.array([centroid])).tolist()
    return replace(
        defect,
        area_mm2=scale.area_mm2(component.bitmap, left, top),
        centroid_mm=(at[0], at[1]),
        length_mm=size.length_mm,
        width_mm=size.width_mm,
    )


def keep_exact(components: list[Component], output: OutputContract, scale: Scale) -> list[Component]:
    """Return the components that reach their class's limit in mm2.

    The search itself counts pixels, each taken for the largest of the frame, so it lets through too many where pixels differ.
    """
    kept = []
    for c in components:
        least = output.classes[c.class_index].min_area_mm2
        top, left = c.box_yxyx[:2]
        if least is None or scale.area_mm2(c.bitmap, left, top) >= least * (1 - 1e-9):
            kept.append(c)
    return kept


def add_box(boxes: list[Box], box: Box) -> None:
    """Add a box to boxes that keep ``APART_PX`` from each other; those that come closer become one."""
    grown = True
    while grown:
        grown = False
        for other in boxes:
            gaps = box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3]
            if max(gaps) < APART_PX:
                boxes.remove(other)
                box = min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])
                grown = True
                break
    boxes.append(box)


def paint(components: Sequence[Component], frame_hw: tuple[int, int]) -> U8:
    """Draw components as a class mask: uint8 H x W, 0 background, k for class k - 1; later classes lie on top."""
    mask = np.zeros(frame_hw, np.uint8)
    for c in components:
        y0, x0, y1, x1 = c.box_yxyx
        mask[y0:y1, x0:x1][c.bitmap.astype(bool)] = c.class_index + 1
    return mask
