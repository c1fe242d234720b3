"""A contact sheet: many images of a data set with their labels on one page."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.evaluation.datasets.base import DataSet, Sample
from jetspect.evaluation.drawing import COLOURS, draw_outline, scaled

U8 = npt.NDArray[np.uint8]
_CELL_WH = (400, 300)
_CAPTION = 40
_GAP = 8
_COLUMNS = 4
_PAPER, _INK = 245, (40, 40, 40)
_LETTERS = 50


def draw_sheet(data: DataSet, places: Iterable[int]) -> U8:
    """Return uint8 H x W x 3: the images at these places, outlines in one colour per class, with name, size and classes."""
    cells = [_cell(data[place], data.classes) for place in places]
    columns = min(_COLUMNS, max(1, len(cells)))
    rows = -(-len(cells) // columns) or 1
    wide, tall = _CELL_WH[0] + _GAP, _CELL_WH[1] + _CAPTION + _GAP
    sheet = np.full((rows * tall + _GAP, columns * wide + _GAP, 3), _PAPER, np.uint8)
    for n, cell in enumerate(cells):
        y, x = (n // columns) * tall + _GAP, (n % columns) * wide + _GAP
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return sheet


def _cell(sample: Sample, classes: tuple[str, ...]) -> U8:
    height, width = sample.image.shape[:2]
    picture = scaled(sample.image, min(_CELL_WH[0] / width, _CELL_WH[1] / height))
    shown = "no label"
    if sample.mask is not None:
        values = [v for v in np.unique(sample.mask).tolist() if v]
        for value in values:
            draw_outline(picture, sample.mask == value, COLOURS[(value - 1) % len(COLOURS)])
        shown = ", ".join(classes[v - 1] for v in values) or "clean"
    cell = np.full((_CELL_WH[1] + _CAPTION, _CELL_WH[0], 3), _PAPER, np.uint8)
    y, x = (_CELL_WH[1] - picture.shape[0]) // 2, (_CELL_WH[0] - picture.shape[1]) // 2
    cell[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    name = sample.sample_id if len(sample.sample_id) <= _LETTERS else f"...{sample.sample_id[3 - _LETTERS :]}"
    for line, text in enumerate((name, f"{width} x {height}, {shown}")):
        at = (2, _CELL_WH[1] + 16 * line + 16)
        cv2.putText(cell, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return cell
