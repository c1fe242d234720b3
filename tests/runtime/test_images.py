from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from jetspect.errors import ImageError
from jetspect.runtime.images import check_array, read_image


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)


def encoded(picture: np.ndarray, suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("grey", [True, False])
def test_lossless_files_come_back_as_they_are(tmp_path: Path, picture: np.ndarray, suffix: str, grey: bool) -> None:
    image = picture[:, :, 0] if grey else picture
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(image, suffix))
    assert np.array_equal(read_image(path), image)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, picture: np.ndarray, suffix: str, share: float) -> None:
    data = encoded(picture, suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageError, match=rf"cut\{suffix} is a truncated"):
        read_image(path)


def test_a_jpeg_with_bytes_after_its_end_is_fine(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture, ".jpg") + b"\0" * 100)
    assert read_image(path).shape == (64, 80, 3)


def cmyk_jpeg(picture: np.ndarray) -> bytes:
    """A JPEG whose frame header says four components."""
    data = bytearray(encoded(picture, ".jpg"))
    data[data.index(b"\xff\xc0") + 9] = 4
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("zero.jpg", lambda p: b"", "is empty"),
        ("text.png", lambda p: b"hello, world", "is not an image"),
        ("deep.png", lambda p: encoded(p.astype(np.uint16) * 257, ".png"), "16 bits per sample"),
        ("float.tif", lambda p: encoded(p.astype(np.float32), ".tif"), "32 bits per sample"),
        ("alpha.png", lambda p: encoded(np.dstack([p, p[:, :, 0]]), ".png"), "alpha channel"),
        ("one.png", lambda p: encoded(p[:1, :1], ".png"), "is 1 x 1 px"),
        ("cmyk.jpg", cmyk_jpeg, "CMYK"),
        ("head.jpg", lambda p: b"\xff\xd8\xff\xe0", "truncated or damaged JPEG"),
    ],
)
def test_what_would_be_decoded_wrongly_is_refused_by_name(
    tmp_path: Path, picture: np.ndarray, name: str, make, says: str
) -> None:
    path = tmp_path / name
    path.write_bytes(make(picture))
    with pytest.raises(ImageError, match=says) as caught:
        read_image(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match=r"nothing\.png cannot be read: No such file"):
        read_image(tmp_path / "nothing.png")


def test_a_single_channel_axis_is_dropped() -> None:
    assert check_array(np.zeros((20, 20, 1), np.uint8), "x").shape == (20, 20)
