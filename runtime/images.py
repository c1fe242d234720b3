"""Read image files strictly: what OpenCV would decode halfway or convert quietly is refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import ImageError

U8 = npt.NDArray[np.uint8]
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
MIN_SIDE_PX = 16
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # our errors say it in one line
# FFmpeg inside OpenCV writes to stderr past every logger, with whole addresses; it looks here at the first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
_PNG = b"\x89PNG\r\n\x1a\n"


def read_image(path: Path) -> U8:
    """Read an 8-bit grey or colour image as it was stored (EXIF orientation is not applied).

    Returns
    -------
    uint8 H x W or H x W x 3 (BGR).

    Raises
    ------
    ImageError
        The file cannot be read, is truncated or not an image, or is not 8-bit grey or colour.
    """
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image; name one of its files")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, name: str) -> U8:
    """Decode the bytes of an image file; ``name`` appears in errors. See :func:`read_image`."""
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); the copy or the camera's write did not finish")
    if data.startswith(b"\xff\xd8"):
        _check_jpeg(data, name)
    elif data.startswith(_PNG) and b"IEND" not in data[-16:]:
        raise ImageError(f"{name} is a truncated PNG: it ends before its last chunk; copy it again")
    elif data[:4] == b"RIFF" and data[12:16] == b"VP8X" and data[20] & 0x10:
        raise ImageError(
            f"{name} has an alpha channel (RGBA); grey or 3-channel colour is needed: save it without alpha"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"{name} cannot be decoded: {error.err or 'OpenCV refuses it'}") from error
    if image is None:
        raise ImageError(f"{name} is not an image that can be decoded (JPEG, PNG, TIFF, BMP, WebP, PNM)")
    return check_array(np.asarray(image), name)


def check_array(image: npt.NDArray[np.generic], name: str) -> U8:
    """Return the image if its dtype, channels and size can be inspected, else raise ImageError."""
    if image.dtype != np.uint8:
        bits = image.dtype.itemsize * 8
        raise ImageError(
            f"{name} has {bits} bits per sample ({image.dtype}); 8 are needed: convert it, or set the camera to 8 bit"
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.ndim != 2 and (image.ndim != 3 or image.shape[2] != 3):
        kind = (
            "4 channels (RGBA: an alpha channel, or CMYK)"
            if image.ndim == 3 and image.shape[2] == 4
            else f"shape {image.shape}"
        )
        raise ImageError(f"{name} has {kind}; grey or 3-channel colour is needed: save it as grey or RGB")
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE_PX:
        raise ImageError(f"{name} is {width} x {height} px; at least {MIN_SIDE_PX} x {MIN_SIDE_PX} px are needed")
    return np.ascontiguousarray(image, dtype=np.uint8)


def _check_jpeg(data: bytes, name: str) -> None:
    """Walk the JPEG segments: libjpeg fills a truncated image with grey, and OpenCV converts CMYK, both quietly."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC) and position + 9 < len(data):
            if data[position + 4] != 8:
                raise ImageError(f"{name} is a {data[position + 4]}-bit JPEG; 8 bits are needed: convert it")
            if data[position + 9] == 4:
                raise ImageError(
                    f"{name} is a CMYK JPEG; convert it to RGB or grey, colours would be guessed otherwise"
                )
        if marker == 0xDA:
            # Entropy-coded data stuffs every 0xFF, so an end marker found here is the real one.
            if data.find(b"\xff\xd9", position) < 0:
                raise ImageError(f"{name} is a truncated JPEG: it ends before its end marker; copy it again")
            return
        position += 2 + length
    raise ImageError(f"{name} is a truncated or damaged JPEG: no image data found; copy it again")
