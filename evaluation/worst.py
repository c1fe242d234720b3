"""Pictures of the images that went worst: what is true, and what the model said."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.drawing import COLOURS, draw_outline, scaled
from jetspect.evaluation.measures import ImageResult
from jetspect.runtime.results import Prediction

U8 = npt.NDArray[np.uint8]
TRUE, SAID = COLOURS[:2]
_WIDTH, _TALLEST = 760, 1520
_LEAST_WH = (240, 150)
_QUALITY = 88


@dataclass(frozen=True)
class Overlay:
    """One picture with its caption; ``jpeg`` is base64."""

    sample_id: str
    caption: str
    jpeg: str


def draw_worst(worst: Sequence[ImageResult], data: DataSet, predict: Callable[[U8], Prediction]) -> list[Overlay]:
    """Read images again by their place in the data set and draw them, one at a time."""
    overlays = []
    for result in worst:
        sample = data[result.index]
        assert sample.mask is not None  # only labelled images have a result
        counts = result.counts
        caption = f"IoU {counts.iou:.2f}, {counts.fn:.0f} px missed, {counts.fp:.0f} px wrongly said"
        picture = draw_pair(sample.image, sample.mask, predict(sample.image).mask)
        overlays.append(Overlay(sample.sample_id, caption, as_jpeg(picture, _QUALITY)))
    return overlays


def as_jpeg(picture: U8, quality: int) -> str:
    """Return a picture as JPEG in base64, as a page holds it."""
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done  # an 8-bit picture always encodes
    return base64.b64encode(data.tobytes()).decode("ascii")


def draw_pair(image: U8, truth: U8, said: U8) -> U8:
    """Return uint8 H' x W' x 3: the part of the image where truth or prediction is, with both outlines.

    Parameters
    ----------
    image, truth, said
        uint8 H x W (x 3), and masks H x W whose values above 0 are defects.
    """
    top, left, bottom, right = _window((truth > 0) | (said > 0))
    view = image[top:bottom, left:right]
    # A strip of a line camera would become a picture of a hundred thousand rows.
    canvas = scaled(view, min(_WIDTH / view.shape[1], _TALLEST / view.shape[0]))
    for mask, colour in ((truth, TRUE), (said, SAID)):
        draw_outline(canvas, mask[top:bottom, left:right] > 0, colour)
    return canvas


def _window(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """A rectangle around all defects with a margin, at least 240 x 150 px (or the image) and not taller than wide."""
    height, width = mask.shape
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, height, width
    margin = max(24, round(0.15 * max(rows[-1] - rows[0], columns[-1] - columns[0])))
    tall, wide = (
        max(least, int(a[-1] - a[0] + 1) + 2 * margin) for a, least in ((rows, _LEAST_WH[1]), (columns, _LEAST_WH[0]))
    )
    wide = max(wide, tall)
    tall = max(tall, wide // 2)
    (top, bottom), (left, right) = (
        _span(int(a[0] + a[-1]) // 2, side, n) for a, side, n in ((rows, tall, height), (columns, wide, width))
    )
    return top, left, bottom, right


def _span(middle: int, side: int, length: int) -> tuple[int, int]:
    start = max(0, min(middle - side // 2, length - side))
    return start, min(length, start + side)
