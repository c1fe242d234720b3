"""Pictures of images with outlines of what is labelled or said."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]
# Okabe and Ito (BGR): told apart on grey metal, also by colour-blind people.
COLOURS: tuple[Colour, ...] = (
    (233, 180, 86),
    (0, 159, 230),
    (115, 158, 0),
    (66, 228, 240),
    (178, 114, 0),
    (0, 94, 213),
    (167, 121, 204),
)


def scaled(image: U8, scale: float) -> U8:
    """Return an image H x W (x 3) as BGR, made smaller or larger."""
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    shown = cv2.resize(colour, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return np.ascontiguousarray(shown, np.uint8)


def draw_outline(canvas: U8, mask: npt.NDArray[np.bool_], colour: Colour) -> None:
    """Draw the outline of a mask on a canvas of the same shape or another scale; nothing gets too thin to be seen."""
    size = canvas.shape[1], canvas.shape[0]
    if size[0] >= mask.shape[1]:
        part = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    else:
        grey = cv2.resize(mask.astype(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_AREA)
        part = np.asarray(grey > 0, np.uint8)
    outlines, _ = cv2.findContours(part, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, outlines, -1, (20, 20, 20), 4, cv2.LINE_AA)
    cv2.drawContours(canvas, outlines, -1, colour, 2, cv2.LINE_AA)
