"""GenICam pixel formats to what is inspected: uint8 grey or BGR.

Deeper formats keep their eight highest bits and lose the rest: 12 bits are divided by 16, rounded down. A camera that can
send 8 bits should, for it also halves the traffic. Bayer images are demosaiced by OpenCV (bilinear). Layouts: GenICam
Pixel Format Naming Convention 2.4; the ``Packed`` ones: GigE Vision 2.0, section 27.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError

U8 = npt.NDArray[np.uint8]
_Unpack = Callable[[U8], U8]


def to_bgr_or_grey(data: bytes, size_wh: tuple[int, int], pixel_format: str) -> U8:
    """Convert one image, H x W or H x W x 3 (BGR).

    Raises
    ------
    InputError
        The format is none of :data:`PIXEL_FORMATS`, the data are too short, or packed pixels do not fill whole bytes.
    """
    if pixel_format not in PIXEL_FORMATS:
        raise InputError(f"pixel format {pixel_format} cannot be converted; set one of {', '.join(PIXEL_FORMATS)}")
    width, height = size_wh
    bits, unpack, colour = PIXEL_FORMATS[pixel_format]
    total_bits = width * height * bits
    if total_bits % 8 or (unpack in _PAIRED and width * height % 2):
        raise InputError(f"{pixel_format} needs an even number of pixels, the frame has {width} x {height}")
    if len(data) < total_bits // 8:
        raise InputError(f"{len(data)} bytes came, {width} x {height} px in {pixel_format} are {total_bits // 8}")
    raw = unpack(np.frombuffer(data, np.uint8, total_bits // 8))
    if colour is None:
        return raw.reshape(height, width)
    shape = (height, width, 3) if pixel_format in ("RGB8", "BGR8") else (height, width)
    image = raw.reshape(shape)
    return image if colour < 0 else np.asarray(cv2.cvtColor(image, colour), np.uint8)


def _as_it_is(raw: U8) -> U8:
    return raw


def _top_of_16(shift: int) -> _Unpack:
    """Little-endian 16-bit words, the value in the lower bits."""

    def unpack(raw: U8) -> U8:
        return (raw.view("<u2") >> shift).astype(np.uint8)

    return unpack


def _packed_12(raw: U8) -> U8:
    """Mono12Packed: two pixels in three bytes; the outer bytes are the high bits of each pixel."""
    return np.ascontiguousarray(raw.reshape(-1, 3)[:, ::2]).reshape(-1)


def _p_12(raw: U8) -> U8:
    """Mono12p: two pixels in three bytes, lowest bits first."""
    low, middle, high = raw.reshape(-1, 3).T
    return np.stack([(low >> 4) | (middle << 4), high], axis=1).reshape(-1)


_PAIRED = (_packed_12, _p_12)
_PACKINGS: dict[str, tuple[int, _Unpack]] = {
    "8": (8, _as_it_is),
    "10": (16, _top_of_16(2)),
    "12": (16, _top_of_16(4)),
    "14": (16, _top_of_16(6)),
    "16": (16, _top_of_16(8)),
    "12Packed": (12, _packed_12),
    "12p": (12, _p_12),
}
# GenICam names the first two pixels of the first row, so do OpenCV's four-letter names.
_COLOURS: dict[str, int | None] = {
    "Mono": None,
    "BayerRG": cv2.COLOR_BayerRGGB2BGR,
    "BayerGR": cv2.COLOR_BayerGRBG2BGR,
    "BayerGB": cv2.COLOR_BayerGBRG2BGR,
    "BayerBG": cv2.COLOR_BayerBGGR2BGR,
}
PIXEL_FORMATS: dict[str, tuple[int, _Unpack, int | None]] = {
    **{kind + depth: (*how, colour) for kind, colour in _COLOURS.items() for depth, how in _PACKINGS.items()},
    "RGB8": (24, _as_it_is, cv2.COLOR_RGB2BGR),
    "BGR8": (24, _as_it_is, -1),
}
"""Name -> bits per pixel, how to get at the eight highest bits, and OpenCV's colour conversion (None: grey, -1: none)."""
