"""``jetspect camera board``: a calibration board to print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.runtime.optics.board import Board, parse_squares
from jetspect.runtime.optics.printing import write_board
from jetspect.runtime.settings import parse_settings

SquaresOption = Annotated[str, typer.Option(help="Squares along and across, the outermost counted, like 9x6.")]
SquareOption = Annotated[float, typer.Option(help="Edge of one square in mm, measured on the board.")]
CharucoOption = Annotated[
    bool, typer.Option("--charuco", help="Markers in the squares: a part of the board is enough.")
]
MarkerOption = Annotated[float | None, typer.Option(help="With --charuco: edge of a marker in mm; 3/4 of a square.")]
DictionaryOption = Annotated[str, typer.Option(help="With --charuco: OpenCV's name of the markers.")]


def board(
    squares: SquaresOption,
    square_mm: SquareOption,
    out: Annotated[Path, typer.Option(help="File to write: .svg, .pdf or .png.", show_default=False)],
    charuco: CharucoOption = False,
    marker_mm: MarkerOption = None,
    dictionary: DictionaryOption = "DICT_4X4_250",
    as_json: JsonOption = False,
) -> None:
    """Write a calibration board at true scale. Print it at 100 %, glue it on something flat, and measure it.

    Example: jetspect camera board --squares 12x9 --square-mm 10 --charuco --out board.pdf
    """
    made = make_board(squares, square_mm, charuco, marker_mm, dictionary)
    write_board(made, out)
    width, height = made.size_mm
    if as_json:
        print_json({"board": str(out), "size_mm": [width, height], **made.model_dump(mode="json")})
    else:
        console.print(f"{out}: {made}, {width:g} x {height:g} mm; print at 100 % and measure it", markup=False)


def make_board(squares: str, square_mm: float, charuco: bool, marker_mm: float | None, dictionary: str) -> Board:
    """Put the options of a board together. Raises InputError or ConfigError where there is no such board."""
    given: dict[str, Any] = {
        "kind": "charuco" if charuco else "checkerboard",
        "squares": parse_squares(squares),
        "square_mm": square_mm,
        "marker_mm": marker_mm,
        "dictionary": dictionary,
    }
    return parse_settings(given, Board, where="board")
