from __future__ import annotations

import numpy as np
import pytest

from jetspect.errors import InputError
from jetspect.runtime.sources.pixels import PIXEL_FORMATS, to_bgr_or_grey

SIZE_WH = (32, 20)


def values(bits: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 2**bits, (SIZE_WH[1], SIZE_WH[0])).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_deep_grey_keeps_its_highest_eight_bits(bits: int) -> None:
    image = values(bits)
    data = image.astype(np.uint8).tobytes() if bits == 8 else image.astype("<u2").tobytes()
    assert (to_bgr_or_grey(data, SIZE_WH, f"Mono{bits}") == image >> (bits - 8)).all()


@pytest.mark.parametrize("name", ["Mono12Packed", "Mono12p"])
def test_packed_twelve_bits_are_those_of_the_standard(name: str) -> None:
    image = values(12)
    packed = bytearray()
    for a, b in image.reshape(-1, 2).tolist():
        if name == "Mono12Packed":
            packed += bytes([a >> 4, (b & 15) << 4 | a & 15, b >> 4])
        else:
            packed += bytes([a & 255, (b & 15) << 4 | a >> 8, b >> 4])
    assert (to_bgr_or_grey(bytes(packed), SIZE_WH, name) == image >> 4).all()


@pytest.mark.parametrize("pattern", ["RG", "GR", "GB", "BG"])
@pytest.mark.parametrize("depth", ["8", "12"])
def test_every_bayer_pattern_gives_the_colour_back(pattern: str, depth: str) -> None:
    """A plain surface of one colour, mosaiced by the names of the pattern, comes back as that colour in BGR."""
    colour = {"R": 200, "G": 120, "B": 40}
    rows = [pattern, {"RG": "GB", "GR": "BG", "GB": "RG", "BG": "GR"}[pattern]]
    tile = np.array([[colour[c] for c in row] for row in rows], np.uint16)
    mosaic = np.tile(tile, (SIZE_WH[1] // 2, SIZE_WH[0] // 2))
    data = mosaic.astype(np.uint8).tobytes() if depth == "8" else (mosaic * 16).astype("<u2").tobytes()
    image = to_bgr_or_grey(data, SIZE_WH, f"Bayer{pattern}{depth}")
    assert image.shape == (20, 32, 3)
    assert (image[2:-2, 2:-2] == (40, 120, 200)).all()


def test_colour_formats_come_as_bgr() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 3)).astype(np.uint8)
    assert (to_bgr_or_grey(pixels.tobytes(), SIZE_WH, "BGR8") == pixels).all()
    assert (to_bgr_or_grey(pixels.tobytes(), SIZE_WH, "RGB8") == pixels[:, :, ::-1]).all()


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(InputError, match="YUV422_8 cannot be converted; set one of Mono8"):
        to_bgr_or_grey(bytes(1280), SIZE_WH, "YUV422_8")
    with pytest.raises(InputError, match="639 bytes came, 32 x 20 px in Mono8 are 640"):
        to_bgr_or_grey(bytes(639), SIZE_WH, "Mono8")
    with pytest.raises(InputError, match="even number of pixels"):
        to_bgr_or_grey(bytes(1000), (17, 17), "Mono12p")


def test_data_after_the_image_are_left_out() -> None:
    for name, (bits, _, _) in PIXEL_FORMATS.items():
        size = SIZE_WH[0] * SIZE_WH[1] * bits // 8
        assert to_bgr_or_grey(bytes(size + 5), SIZE_WH, name).shape[:2] == (20, 32)
