"""What every ``jetspect bench`` command has: the file that its results are appended to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HistoryOption = Annotated[
    Path | None,
    typer.Option(help="Append the result and its raw samples to this file of JSON lines, for jetspect bench compare."),
]
