"""Draw an inspection onto its frame, so that a person sees what was found at a glance."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.results import Defect, Inspection, Verdict

U8 = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK = (20, 20, 20)
# Okabe and Ito's colours (BGR): told apart on grey metal, also by colour-blind people.
_PALETTE = ((0, 159, 230), (233, 180, 86), (66, 228, 240), (167, 121, 204), (115, 158, 0), (0, 94, 213), (178, 114, 0))
_VERDICT = {Verdict.OK: (90, 160, 40), Verdict.NOK: (50, 50, 205), Verdict.UNKNOWN: (0, 165, 235)}
_LABELS = 60  # more than this hide the part; the others keep outline and box


def draw_overlay(image: U8, inspection: Inspection, max_px: int = 2048) -> U8:
    """Return uint8 H' x W' x 3 (BGR): the frame, scaled down so that its longer side is at most ``max_px``, with outlines,
    boxes, labels and a verdict bar below."""
    height, width = image.shape[:2]
    scale = min(1.0, max_px / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    canvas = cv2.cvtColor(canvas, cv2.COLOR_GRAY2BGR) if canvas.ndim == 2 else np.array(canvas)
    pixels = np.asarray(canvas, np.uint8)
    names = sorted({d.class_name for d in inspection.defects})
    colours = {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(names)}
    unit = max(1, round(max(size) / 900))
    boxes = [_scaled(d.box_xyxy, scale, 4 * unit) for d in inspection.defects]
    for defect, box in zip(inspection.defects, boxes, strict=True):
        _outline(pixels, defect, box, scale, colours[defect.class_name], unit)
    taken = list(boxes)
    ranked = sorted(zip(inspection.defects, boxes, strict=True), key=lambda pair: -pair[0].peak)
    for defect, box in ranked[:_LABELS]:
        taken.append(
            _label(pixels, f"{defect.class_name} {defect.peak:.2f}", box, taken, colours[defect.class_name], unit)
        )
    return _with_bar(pixels, inspection)


def _scaled(box: Box, scale: float, pad: int) -> Box:
    left, top = (round(v * scale) - pad for v in box[:2])
    right, bottom = (round(v * scale) + pad for v in box[2:])
    return left, top, right, bottom


def _outline(pixels: U8, defect: Defect, box: Box, scale: float, colour: Colour, unit: int) -> None:
    # Shift by 4 bits: outlines are placed to a sixteenth of a pixel after scaling.
    outline = np.round((np.array(defect.polygon_xy, np.float64) + 0.5) * scale * 16 - 8).astype(np.int32)
    for shade, thick in ((_INK, unit + 2), (colour, unit)):  # a dark rim keeps the line visible on bright metal
        cv2.polylines(pixels, [outline], True, shade, thick, cv2.LINE_AA, 4)
        cv2.rectangle(pixels, box[:2], box[2:], shade, thick, cv2.LINE_AA)


def _label(pixels: U8, text: str, box: Box, taken: list[Box], colour: Colour, unit: int) -> Box:
    """Write a label where it hides neither a defect nor another label, if there is such a place; return its box."""
    font = 0.42 * unit + 0.05
    (w, h), base = cv2.getTextSize(text, _FONT, font, unit)
    width, height = w + 4 * unit, h + base + 2 * unit
    spots = list(_spots(box, width, height, pixels.shape[1], pixels.shape[0], unit))
    chip = min(spots, key=lambda spot: sum(_overlap(spot, other) for other in taken))  # the first of the best
    left, top, right, bottom = chip
    cv2.rectangle(pixels, (left, top), (right, bottom), colour, -1)
    cv2.putText(pixels, text, (left + 2 * unit, bottom - base - unit // 2), _FONT, font, _INK, unit, cv2.LINE_AA)
    return chip


def _spots(box: Box, width: int, height: int, frame_w: int, frame_h: int, unit: int) -> Iterator[Box]:
    """Places for a label around a box, the nicest first, all inside the frame where it is large enough."""
    left, top, right, bottom = box
    beside = (top + bottom - height) // 2
    for x, y in (
        (left, top - height - unit),
        (left, bottom + unit),
        (right - width, top - height - unit),
        (right - width, bottom + unit),
        (right + unit, beside),
        (left - width - unit, beside),
        (left, top - 2 * height - 2 * unit),
        (left, bottom + height + 2 * unit),
    ):
        x = min(max(0, x), max(0, frame_w - width - 1))
        y = min(max(0, y), max(0, frame_h - height - 1))
        yield x, y, x + width, y + height


def _overlap(a: Box, b: Box) -> int:
    """Shared area in px."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def _with_bar(canvas: U8, inspection: Inspection) -> U8:
    width = canvas.shape[1]
    bar = np.full((max(24, round(width * 0.032)), width, 3), 32, np.uint8)
    height = bar.shape[0]
    font, thick = height / 52, max(1, round(height / 30))
    verdict = inspection.verdict.value
    (w, h), _ = cv2.getTextSize(verdict, _FONT, font, thick)
    cv2.rectangle(bar, (0, 0), (w + height, height), _VERDICT[inspection.verdict], -1)
    cv2.putText(bar, verdict, (height // 2, (height + h) // 2), _FONT, font, (255, 255, 255), thick, cv2.LINE_AA)
    reason = "; ".join(inspection.reasons) or "no defect"
    text = f"{inspection.frame_id}   {reason}   {inspection.timings.total_ms:.0f} ms"
    x = w + height + height // 2
    room = (width - x) / max(1, cv2.getTextSize(text, _FONT, font, 1)[0][0])
    small = font * min(1.0, room * 0.97)
    if small > 0:
        cv2.putText(bar, text, (x, (height + h) // 2), _FONT, small, (235, 235, 235), max(1, thick - 1), cv2.LINE_AA)
    return np.vstack([canvas, bar])
