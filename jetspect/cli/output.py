"""How commands talk: words through rich, or JSON on stdout."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from jetspect.errors import JetspectError

if TYPE_CHECKING:
    from rich.progress import Progress

console = Console(highlight=False, soft_wrap=True)
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON on stdout, for machines.")]

VERDICT_STYLE = {"OK": "bold green", "NOK": "bold red", "UNKNOWN": "bold yellow"}


def print_json(data: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")
    sys.stdout.flush()


def fail(error: JetspectError, *, as_json: bool) -> NoReturn:
    """Say what went wrong and end with exit code 2."""
    if as_json:
        print_json({"error": {"type": type(error).__name__, "message": str(error)}})
    else:
        typer.echo(f"error: {error}", err=True)
    sys.exit(2)


def progress() -> Progress:
    """A progress bar on stderr; silent where stderr is not a terminal."""
    # Most commands draw none.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
