"""The HTML page of a measurement: one file that needs nothing else, with numbers, plots and tables."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from jetspect.benchmarks.history import Record
from jetspect.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from jetspect.evaluation.plots import Plot

HTML, JSON = "report.html", "result.json"


@dataclass(frozen=True)
class Table:
    """Rows of words; ``marked`` ones stand out."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()
    text: str = ""


@dataclass(frozen=True)
class Page:
    """What a page shows. ``numbers`` are pairs of a value and what it is; ``code`` can be copied as it is."""

    title: str
    lead: str
    numbers: Sequence[tuple[str, str]]
    tables: Sequence[Table]
    plots: Sequence[Plot] = ()
    notes: Sequence[str] = ()
    code: str = ""
    code_title: str = field(default="")


def require_packages(out: Path | None) -> None:
    """Raise before the work where a page is wanted and cannot be drawn or written."""
    if out is None:
        return
    for package in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "HTML reports", "pip install 'jetspect[report]'")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; --out is a folder")


def prepare_folder(out: Path) -> None:
    """Make the folder of a page before the work, or raise InputError."""
    require_packages(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}; choose another --out") from error


def write_page(folder: Path, page: Page, record: Record) -> Path:
    """Write ``report.html``, and ``result.json`` with the record beside it; earlier ones are replaced."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("bench.html").render(page=page, record=record)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / JSON).write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
        (folder / HTML).write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}; choose another --out") from error
    return folder / HTML
