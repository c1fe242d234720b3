"""A calibration board to print, at true scale: SVG and PDF in mm, PNG with its resolution."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.runtime.optics.board import Board

U8 = npt.NDArray[np.uint8]
_POINTS_PER_MM = 72 / 25.4
_SQUARE_PX = 96  # divisible by the cells of markers
_MAX_PX = 12_000
_LABEL_MM = 3.0


@dataclass(frozen=True)
class Box:
    """A black rectangle, mm from the top left of the page."""

    x: float
    y: float
    width: float
    height: float


def margin_mm(board: Board) -> float:
    """Return the white edge that a board needs to be found, which holds its label too."""
    return max(board.square_mm, 2 * _LABEL_MM)


def black_boxes(board: Board) -> list[Box]:
    """Return the black rectangles of a board, in mm from the top left of the page."""
    edge, square = margin_mm(board), board.square_mm
    across, down = board.squares
    boxes = [
        Box(edge + x * square, edge + y * square, square, square)
        for y in range(down)
        for x in range(across)
        if (x + y) % 2 == 0
    ]
    if board.kind == "charuco":
        drawn = board.charuco()
        dictionary = drawn.getDictionary()
        cells = dictionary.markerSize + 2
        for number, corners in zip(np.ravel(drawn.getIds()).tolist(), drawn.getObjPoints(), strict=True):
            left, top = np.asarray(corners)[0, :2].tolist()
            cell = drawn.getMarkerLength() / cells
            bits = np.asarray(dictionary.generateImageMarker(number, cells, borderBits=1)) == 0
            boxes += [Box(edge + left + x * cell, edge + top + y * cell, w, cell) for x, y, w in _runs(bits, cell)]
    return boxes


def _runs(bits: npt.NDArray[np.bool_], cell: float) -> list[tuple[int, int, float]]:
    """Join the black cells of each row: column, row, width in mm."""
    runs = []
    for y, row in enumerate(bits):
        ends = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
        runs += [(int(a), y, float(b - a) * cell) for a, b in zip(ends[::2], ends[1::2], strict=True)]
    return runs


def label(board: Board) -> str:
    width, height = board.size_mm
    return f"{board}: {width:g} x {height:g} mm. Print at 100 %, then measure."


def to_svg(board: Board) -> bytes:
    width, height = _page_mm(board)
    page = f'width="{width:g}mm" height="{height:g}mm" viewBox="0 0 {width:g} {height:g}"'
    rects = "\n".join(
        f'<rect x="{b.x:.4f}" y="{b.y:.4f}" width="{b.width:.4f}" height="{b.height:.4f}"/>' for b in black_boxes(board)
    )
    at = f'x="{margin_mm(board):g}" y="{height - _LABEL_MM / 2:g}" font-family="sans-serif" font-size="{_LABEL_MM:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {page}>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n<g shape-rendering="crispEdges">\n{rects}\n</g>\n'
        f"<text {at}>{label(board)}</text>\n</svg>\n"
    ).encode()


def to_pdf(board: Board) -> bytes:
    """Write the one page by hand: rectangles and one line of text are all that is needed."""
    k = _POINTS_PER_MM
    width, height = _page_mm(board)
    drawn = "\n".join(
        f"{b.x * k:.4f} {(height - b.y - b.height) * k:.4f} {b.width * k:.4f} {b.height * k:.4f} re"
        for b in black_boxes(board)
    )
    text = f"BT /F {_LABEL_MM * k:.2f} Tf {margin_mm(board) * k:.2f} {_LABEL_MM / 2 * k:.2f} Td ({label(board)}) Tj ET"
    page = zlib.compress(f"0 g\n{drawn}\nf\n{text}\n".encode())
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {width * k:.4f} {height * k:.4f}]/Contents 4 0 R"
        "/Resources<</Font<</F 5 0 R>>>>>>".encode(),
        b"<</Length %d/Filter/FlateDecode>>stream\n%s\nendstream" % (len(page), page),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}".encode()
    out += f"trailer<</Size {len(objects) + 1}/Root 1 0 R>>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def to_png(board: Board) -> bytes:
    """Draw with whole pixels per square, and say in the file how many there are to the metre."""
    page = raster(board)
    data = cv2.imencode(".png", page)[1].tobytes()
    per_metre = round(page.shape[1] / _page_mm(board)[0] * 1000)
    chunk = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    sized = struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + sized + data[33:]  # after the header, whose length is fixed


def raster(board: Board) -> U8:
    """Return the page, uint8 H x W."""
    per_mm = min(_SQUARE_PX / board.square_mm, _MAX_PX / max(_page_mm(board)))
    width, height = (round(side * per_mm) for side in _page_mm(board))
    page = np.full((height, width), 255, np.uint8)
    for b in black_boxes(board):
        x0, y0, x1, y1 = (round(v * per_mm) for v in (b.x, b.y, b.x + b.width, b.y + b.height))
        page[y0:y1, x0:x1] = 0
    return page


def write_board(board: Board, path: Path) -> None:
    """Write a board in the format that the file's name says. Raises InputError where it cannot be written."""
    formats = {".svg": to_svg, ".pdf": to_pdf, ".png": to_png}
    make = formats.get(path.suffix.lower())
    if make is None:
        raise InputError(f"board {path}: the name must end in {', '.join(formats)}; got {path.suffix or 'no ending'}")
    try:
        path.write_bytes(make(board))
    except OSError as error:
        raise InputError(f"board {path} cannot be written: {error.strerror or error}") from error


def _page_mm(board: Board) -> tuple[float, float]:
    width, height = board.size_mm
    return width + 2 * margin_mm(board), height + 2 * margin_mm(board)
