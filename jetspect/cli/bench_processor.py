"""What the commands have in common that compare on an engine of the processor: options, tables and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as RichTable

from jetspect.benchmarks.bars import Bars, draw
from jetspect.benchmarks.history import Record, append
from jetspect.benchmarks.page import Page, Table, write_page
from jetspect.cli.engine import as_precision
from jetspect.cli.output import console, print_json
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.base import Engine

SizeOption = Annotated[str, typer.Option(help="Width x height of the frames in px, such as 5472x3648.")]
OutOption = Annotated[Path | None, typer.Option(help="Folder for report.html and the numbers as JSON.")]
RoundsOption = Annotated[int, typer.Option(min=1, max=1000, help="Frames that everyone runs, in turn.")]
ProcessorOption = Annotated[str, typer.Option(help="Engine of the processor: onnxruntime or openvino.")]


def as_size(text: str) -> tuple[int, int]:
    """Return width and height out of ``5472x3648``, or raise InputError."""
    width, _, height = text.lower().partition("x")
    try:
        size = int(width), int(height)
    except ValueError:
        raise InputError(f"a size is WIDTHxHEIGHT in px, such as 5472x3648; got {text!r}") from None
    if not all(64 <= side <= 8192 for side in size):
        raise InputError(f"frames are rendered with 64 to 8192 px a side, got {text}; choose another size")
    return size


def open_processor(bundle: Bundle, engine: str, precision: str, threads: int) -> Engine:
    """Open an engine that takes any batch and tile, as peers and comparisons with whole frames need."""
    if engine not in ("onnxruntime", "openvino"):
        raise InputError(
            f"--engine {engine!r} does not do here; use onnxruntime or openvino, which take tiles of any size"
        )
    return open_engine(bundle, kind=engine, precision=as_precision(precision), threads=threads)[0]


def show(drawn: list[Table]) -> None:
    """Print tables."""
    for table in drawn:
        shown = RichTable(*table.head, title=table.title, caption=table.text)
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)


def finish(
    record: Record,
    drawn: list[Table],
    bars: Sequence[Bars],
    *,
    title: str,
    lead: str,
    history: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Keep the record, print it or its tables, and write the report."""
    if history is not None:
        append(history, record)
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        show(drawn)
    if out is not None:
        page = Page(title, lead, numbers=(), tables=drawn, plots=[draw(b) for b in bars if b.names])
        typer.echo(f"look at {write_page(out, page, record)}", err=True)
