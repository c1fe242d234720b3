"""Options that the ``jetspect bench`` commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.errors import InputError
from jetspect.runtime.sources.synthetic.part import MAX_SIDE_PX, MIN_SIDE_PX

HistoryOption = Annotated[
    Path | None,
    typer.Option(help="Append the result and its raw samples to this file of JSON lines, for jetspect bench compare."),
]


def size_of(text: str) -> tuple[int, int]:
    """Read ``5472x3648`` as width and height, within what the synthetic camera renders."""
    width, _, height = text.lower().replace(" ", "").partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise InputError(f"--size is width x height in px, like 5472x3648, got {text!r}")
    size_wh = int(width), int(height)
    if not all(MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in size_wh):
        raise InputError(f"--size has sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} px, got {width} x {height}")
    return size_wh
