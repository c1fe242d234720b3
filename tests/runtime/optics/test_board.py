from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from board_views import BOARD, CHARUCO, ON_PART, TRUTH, Pose

from jetspect.errors import InputError
from jetspect.runtime.optics import board as boards
from jetspect.runtime.optics.board import Board, find_board, parse_squares
from jetspect.runtime.optics.printing import black_boxes, margin_mm, raster, to_pdf, to_svg, write_board


@pytest.mark.parametrize("board", [BOARD, CHARUCO], ids=str)
def test_corners_are_found_to_a_tenth_of_a_pixel(board: Board) -> None:
    image = TRUTH.picture(board, ON_PART)
    sighting = find_board(image, board, "a.png")
    assert sighting is not None
    turned = np.array(board.size_mm) - sighting.corners_mm  # a checkerboard looks the same from the other side
    errors = min(
        (np.hypot(*(sighting.corners_px - TRUTH.to_px(mm, board, ON_PART)).T) for mm in (sighting.corners_mm, turned)),
        key=np.max,
    )
    assert len(errors) >= 80
    assert np.sqrt(np.mean(errors**2)) < 0.06
    assert errors.max() < 0.15
    colour = find_board(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), board, "a.png")
    assert colour is not None
    assert np.array_equal(colour.corners_px, sighting.corners_px)


def test_what_is_searched_in_a_smaller_image_is_refined_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with 20 megapixels: found at half the size, where alone it would be 0.1 px off."""
    monkeypatch.setattr(boards, "_SEARCH_PX", 400)
    sighting = find_board(TRUTH.picture(BOARD, ON_PART), BOARD, "a.png")
    assert sighting is not None
    sides = (np.array(BOARD.size_mm) - sighting.corners_mm, sighting.corners_mm)
    errors = min((np.hypot(*(sighting.corners_px - TRUTH.to_px(mm, BOARD, ON_PART)).T) for mm in sides), key=np.max)
    assert np.sqrt(np.mean(errors**2)) < 0.06


def test_a_part_of_a_charuco_board_is_enough_and_of_a_checkerboard_is_not() -> None:
    aside = Pose((8, -6, 2), (30, 20, 110))
    part = find_board(TRUTH.picture(CHARUCO, aside), CHARUCO, "a")
    assert part is not None
    assert 8 <= len(part.corners_px) < 9 * 13
    assert find_board(TRUTH.picture(BOARD, aside), BOARD, "a") is None


@pytest.mark.parametrize("image", [np.zeros((300, 400), np.uint8), np.full((16, 16, 3), 255, np.uint8)])
@pytest.mark.parametrize("board", [BOARD, CHARUCO], ids=str)
def test_where_no_board_is_none_is_found(image: np.ndarray, board: Board) -> None:
    assert find_board(image, board, "a") is None


def test_the_printed_charuco_board_is_opencv_s() -> None:
    page, margin = raster(CHARUCO), round(margin_mm(CHARUCO) * 16)
    inside = page[margin:-margin, margin:-margin]
    assert np.array_equal(inside, CHARUCO.charuco().generateImage((14 * 96, 10 * 96)))


def test_svg_and_pdf_have_the_true_size() -> None:
    """Against the numbers that a printer reads: mm in SVG, 72 points to the inch in PDF."""
    svg = to_svg(BOARD).decode()
    assert 'width="84mm" height="66mm" viewBox="0 0 84 66"' in svg
    squares = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="6.0000" height="6.0000"/>', svg)
    assert len(squares) == 54 == len(black_boxes(BOARD))
    pdf = to_pdf(BOARD)
    assert f"/MediaBox[0 0 {84 / 25.4 * 72:.4f} {66 / 25.4 * 72:.4f}]".encode() in pdf
    drawn = zlib.decompress(pdf.split(b"stream\n")[1].split(b"\nendstream")[0]).decode()
    edge = f"{6 / 25.4 * 72:.4f}"
    assert drawn.count(f" {edge} {edge} re") == 54
    table = int(pdf.split(b"startxref\n")[1].split(b"\n")[0])
    assert pdf[table:].startswith(b"xref\n0 6\n")
    for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n", pdf), 1):
        assert pdf[int(place) :].startswith(b"%d 0 obj" % number)


def test_a_png_says_its_resolution_and_can_be_found_again(tmp_path: Path) -> None:
    write_board(BOARD, tmp_path / "b.png")
    data = (tmp_path / "b.png").read_bytes()
    assert struct.unpack(">IIB", data[data.index(b"pHYs") + 4 :][:9]) == (16000, 16000, 1)
    image = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert find_board(np.asarray(image, np.uint8), BOARD, "b") is not None


@pytest.mark.parametrize(
    ("name", "says"), [("b.bmp", r"must end in \.svg, \.pdf, \.png; got \.bmp"), ("no/b.svg", "cannot be written")]
)
def test_a_board_that_cannot_be_written_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        write_board(BOARD, tmp_path / name)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"squares": (3, 9)}, "must be 4 to 100 each way"),
        ({"squares": (9, 101)}, "must be 4 to 100 each way"),
        ({"square_mm": 0}, "greater than 0"),
        ({"square_mm": float("nan")}, "finite number"),
        ({"marker_mm": 4.0}, "is for a charuco board"),
        ({"kind": "charuco", "marker_mm": 6.0}, r"marker_mm \(6\) must be smaller than square_mm \(6\)"),
        ({"kind": "charuco", "dictionary": "DICT_9X9"}, "DICT_9X9 is none of .*DICT_4X4_250"),
        ({"kind": "charuco", "squares": (40, 40)}, "has 250 markers, fewer than this board needs"),
    ],
)
def test_impossible_boards_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Board.model_validate({"squares": (12, 9), "square_mm": 6.0, **changes})


def test_squares_are_read_as_they_are_said() -> None:
    assert parse_squares("9x6") == (9, 6)
    for wrong in ("9", "9x", "x6", "9*6", "-9x6", "9x6x3", ""):
        with pytest.raises(InputError, match="--squares is ALONGxACROSS, like 9x6"):
            parse_squares(wrong)
