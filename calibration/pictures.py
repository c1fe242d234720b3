"""Pictures of a calibration: the crops it measured on, and where INT8 answers otherwise than FP32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.calibration.crops import CropSet
from jetspect.calibration.gate import Row
from jetspect.calibration.outcome import Outcome
from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.drawing import COLOURS, Colour, draw_outline, scaled
from jetspect.evaluation.measures import ImageResult
from jetspect.evaluation.worst import Overlay, as_jpeg
from jetspect.runtime.engines import open_engine
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.manifest import Precision

U8 = npt.NDArray[np.uint8]
Segment = Callable[[U8], U8]
# In the order in which they are drawn: where outlines coincide the last one is seen.
TRUTH, FP32, INT8 = COLOURS[0], COLOURS[3], COLOURS[5]
CROPS, OVERLAYS = 48, 6
_CROP_PX = 176
_WIDTH, _TALLEST = 760, 900
_LEAST_WH = (240, 150)
_QUALITY = 85


@dataclass(frozen=True)
class CropPicture:
    """A calibration crop; ``jpeg`` is base64."""

    stratum: str
    origin: str
    jpeg: str


def draw_crops(crops: CropSet, most: int = CROPS) -> list[CropPicture]:
    """Draw the first crops, those of one stratum side by side.

    Crops are chosen from the strata in turn, so the first ones show all strata.
    """
    first = sorted(range(min(most, len(crops.crops))), key=lambda i: crops.crops[i].stratum)
    pictures = []
    for index in first:
        tile, crop = crops.tiles[index], crops.crops[index]
        image = tile[:, :, 0] if tile.shape[2] == 1 else tile
        jpeg = as_jpeg(scaled(image, _CROP_PX / tile.shape[1]), _QUALITY)
        pictures.append(CropPicture(crop.stratum, f"{crop.sample_id} at {crop.x},{crop.y}", jpeg))
    return pictures


def draw_differences(outcome: Outcome, most: int = OVERLAYS) -> list[Overlay]:
    """Run FP32 and INT8 once more on the images where their IoU differs most, and draw both."""
    rows = {row.name: row for row in outcome.rows}
    pairs = most_different(rows["fp32"], rows["int8"], most)
    masks: dict[Precision, list[U8]] = {}
    names: tuple[Precision, ...] = ("fp32", "int8")
    for name in names if pairs else ():
        engine, _ = open_engine(outcome.draft, precision=name)
        with Inspector(outcome.draft, engine) as inspector:
            masks[name] = [inspector.segment(outcome.judged_on[before.index].image) for before, _ in pairs]
    return [
        _overlay(outcome.judged_on, before, after, masks["fp32"][n], masks["int8"][n])
        for n, (before, after) in enumerate(pairs)
    ]


def most_different(fp32: Row, int8: Row, most: int) -> list[tuple[ImageResult, ImageResult]]:
    """Return the images with the largest difference of IoU, the largest first; those without any never."""
    pairs = zip(fp32.evaluation.images, int8.evaluation.images, strict=True)
    different = [(a, b) for a, b in pairs if _iou(a) != _iou(b)]
    return sorted(different, key=lambda p: abs(_iou(p[0]) - _iou(p[1])), reverse=True)[:most]


def draw_three(image: U8, truth: U8, fp32: U8, int8: U8) -> U8:
    """Return uint8 H' x W' x 3: the part of the image where the two answers differ, with the outlines of all three.

    Parameters
    ----------
    image, truth, fp32, int8
        uint8 H x W (x 3), and masks H x W whose values above 0 are defects.
    """
    top, left, bottom, right = window((fp32 > 0) != (int8 > 0))
    view = image[top:bottom, left:right]
    canvas = scaled(view, min(_WIDTH / view.shape[1], _TALLEST / view.shape[0]))
    for mask, colour in ((truth, TRUTH), (fp32, FP32), (int8, INT8)):
        draw_outline(canvas, mask[top:bottom, left:right] > 0, colour)
    return canvas


def window(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return top, left, bottom, right around what is set, with a margin, at least 240 x 150 px; of nothing, all."""
    height, width = mask.shape
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return 0, 0, height, width
    longest = int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1
    margin = max(24, longest // 4)
    wide = max(_LEAST_WH[0], int(columns[-1] - columns[0]) + 1 + 2 * margin)
    tall = max(_LEAST_WH[1], int(rows[-1] - rows[0]) + 1 + 2 * margin, wide * 5 // 8)
    top = max(0, min(int(rows[0] + rows[-1]) // 2 - tall // 2, height - tall))
    left = max(0, min(int(columns[0] + columns[-1]) // 2 - max(wide, tall) // 2, width - max(wide, tall)))
    return top, left, min(height, top + tall), min(width, left + max(wide, tall))


def css(colour: Colour) -> str:
    """Return a BGR colour as CSS writes it."""
    return "#{2:02x}{1:02x}{0:02x}".format(*colour)


def _overlay(data: DataSet, before: ImageResult, after: ImageResult, fp32: U8, int8: U8) -> Overlay:
    sample = data[before.index]
    assert sample.mask is not None  # only labelled images have a result
    gone, new = (int(np.count_nonzero(part)) for part in ((fp32 > 0) & (int8 == 0), (fp32 == 0) & (int8 > 0)))
    caption = f"IoU {_said(before)} to {_said(after)}; INT8 drops {gone} px that FP32 has and adds {new} px"
    return Overlay(sample.sample_id, caption, as_jpeg(draw_three(sample.image, sample.mask, fp32, int8), _QUALITY))


def _iou(result: ImageResult) -> float:
    """Nothing there and nothing said is right."""
    return 1.0 if math.isnan(result.counts.iou) else result.counts.iou


def _said(result: ImageResult) -> str:
    return "- (clean, nothing said)" if math.isnan(result.counts.iou) else f"{result.counts.iou:.3f}"
