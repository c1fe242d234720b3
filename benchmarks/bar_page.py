"""A report of measurements: one HTML file with tables and drawings that needs nothing else, no script and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.probe import probe
from jetspect.errors import InputError, MissingDependencyError


@dataclass(frozen=True)
class Table:
    """A table: its title, a sentence on how to read it, and its cells as text; the first column is the name."""

    title: str
    text: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Bars:
    """One drawing: a bar with its interval for each name; ``mark`` is a line to compare with."""

    title: str
    text: str
    unit: str
    names: Sequence[str]
    values: Sequence[float]
    intervals: Sequence[tuple[float, float] | None]
    mark: float | None = None


def require_packages() -> None:
    """Refuse before a long run what could not be written after it."""
    try:
        import jinja2  # noqa: F401
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(str(error.name), "HTML reports", "pip install 'jetspect[report]'") from error


def prepare_folder(out: Path) -> None:
    """Make the folder of a report, or raise InputError."""
    require_packages()
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}; choose another --out") from error


def write_page(path: Path, title: str, lead: str, tables: Sequence[Table], bars: Sequence[Bars] = ()) -> Path:
    """Write a report."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    plots = [(b.title, b.text, _draw(b)) for b in bars if b.names]
    page = environment.get_template("page.html")
    path.write_text(page.render(title=title, lead=lead, machine=probe().as_dict(), tables=tables, plots=plots))
    return path


def _draw(bars: Bars) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    from jetspect.evaluation.plots import BLUE, GREY, STYLE, as_svg

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 0.8 + 0.38 * len(bars.names)), layout="constrained")
        axes = figure.subplots()
        places = range(len(bars.names))
        axes.barh(places, bars.values, color=BLUE, height=0.62)
        for place, value, ends in zip(places, bars.values, bars.intervals, strict=True):
            if ends is not None:
                reach = [[max(0.0, value - ends[0])], [max(0.0, ends[1] - value)]]
                axes.errorbar([value], [place], xerr=reach, color="black", capsize=3, linewidth=1)
        if bars.mark is not None:
            axes.axvline(bars.mark, color=GREY, linestyle="--", linewidth=1)
        axes.set_yticks(places, bars.names)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set_xlabel(bars.unit)
        return as_svg(figure)
