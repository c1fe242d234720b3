"""Draw an inspection onto its frame, so that a person sees what was found at a glance."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.runtime.results import Inspection, Verdict

U8 = npt.NDArray[np.uint8]
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Okabe and Ito's colours (BGR): told apart on grey metal, also by colour-blind people.
_PALETTE = ((0, 159, 230), (233, 180, 86), (66, 228, 240), (167, 121, 204), (115, 158, 0), (0, 94, 213), (178, 114, 0))
_VERDICT = {Verdict.OK: (90, 160, 40), Verdict.NOK: (50, 50, 205), Verdict.UNKNOWN: (0, 165, 235)}


def draw_overlay(image: U8, inspection: Inspection, max_px: int = 2048) -> U8:
    """Return uint8 H' x W' x 3 (BGR): the frame, scaled down so that its longer side is at most ``max_px``, with outlines,
    boxes, labels and a verdict bar below."""
    height, width = image.shape[:2]
    scale = min(1.0, max_px / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    canvas = cv2.cvtColor(canvas, cv2.COLOR_GRAY2BGR) if canvas.ndim == 2 else np.array(canvas)
    names = sorted({d.class_name for d in inspection.defects})
    unit = max(1, round(max(size) / 900))
    for defect in inspection.defects:
        colour = _PALETTE[names.index(defect.class_name) % len(_PALETTE)]
        # Shift by 4 bits: outlines are placed to a sixteenth of a pixel after scaling.
        outline = np.round((np.array(defect.polygon_xy, np.float64) + 0.5) * scale * 16 - 8).astype(np.int32)
        cv2.polylines(canvas, [outline], True, colour, unit, cv2.LINE_AA, 4)
        _box(canvas, defect.box_xyxy, scale, colour, unit, f"{defect.class_name} {defect.peak:.2f}")
    return _with_bar(np.asarray(canvas, np.uint8), inspection)


def _box(
    canvas: npt.NDArray[np.generic],
    box: tuple[int, int, int, int],
    scale: float,
    colour: tuple[int, int, int],
    unit: int,
    text: str,
) -> None:
    pad = 4 * unit
    left, top = (round(v * scale) - pad for v in box[:2])
    right, bottom = (round(v * scale) + pad for v in box[2:])
    pixels = np.asarray(canvas, np.uint8)
    cv2.rectangle(pixels, (left, top), (right, bottom), colour, unit, cv2.LINE_AA)
    font = 0.42 * unit + 0.05
    (w, h), base = cv2.getTextSize(text, _FONT, font, unit)
    x = min(max(0, left), max(0, pixels.shape[1] - w - 4 * unit))
    y = top - unit if top - h - base - 2 * unit > 0 else bottom + h + base + 2 * unit
    cv2.rectangle(pixels, (x, y - h - base - unit), (x + w + 4 * unit, y), colour, -1)
    cv2.putText(pixels, text, (x + 2 * unit, y - base + unit // 2), _FONT, font, (20, 20, 20), unit, cv2.LINE_AA)


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
    cv2.putText(bar, text, (x, (height + h) // 2), _FONT, small, (235, 235, 235), max(1, thick - 1), cv2.LINE_AA)
    return np.vstack([canvas, bar])
