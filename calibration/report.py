"""The report of a calibration: one HTML file that needs nothing else."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jetspect.calibration.gate import Row
from jetspect.calibration.judge import Quality
from jetspect.calibration.outcome import Outcome
from jetspect.calibration.pictures import FP32, INT8, TRUTH, css, draw_crops, draw_differences
from jetspect.calibration.trt8 import TRANSPOSED
from jetspect.errors import InputError
from jetspect.evaluation.measures import Value
from jetspect.evaluation.report import TEXTS, require_packages
from jetspect.evaluation.worst import Overlay

if TYPE_CHECKING:
    from jetspect.calibration.plots import Clipped

MARKER = "<!-- jetspect calibration report -->"
HISTOGRAMS = 24
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Pixels": ("iou", "iou_mean", "dice", "precision", "recall", "pixel_ap"),
    "Defects": ("object_recall", "object_precision"),
    "Images": ("image_recall", "image_fpr", "image_ap", "image_auroc"),
}
LOWER_IS_BETTER = ("image_fpr",)
# What is smaller than half of the last digit shown is no difference; what is smaller than the second is not worth a word.
_NOISE, _WORTH_A_WORD = 5e-5, 5e-4


@dataclass(frozen=True)
class Cell:
    """One number of a table: as text, its difference to FP32, and whether that is for the worse."""

    value: str
    difference: str = ""
    worse: bool = False


@dataclass(frozen=True)
class Line:
    """A row of a table; a heading where it has no cells."""

    text: str
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class Kept:
    """Convolutions of one block that stay in FP16 for one reason."""

    block: str
    count: int
    share: str
    why: str


def default_path(bundle: Path) -> Path:
    """Return where the report goes when nobody says: beside the bundle."""
    folder = bundle if bundle.name not in ("", "..") else bundle.resolve()
    return folder.with_name(f"{folder.name}-calibration.html")


def refuse_to_overwrite(path: Path, bundle: Path) -> None:
    """Raise InputError before the work where a report cannot be written, or would replace what is not one.

    A missing folder is made later, with the report.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; --report is the HTML file, such as {path / 'calibration.html'}")
    if bundle.resolve() in path.resolve().parents:
        raise InputError(f"{path} is inside the bundle, which holds only its own files; choose another --report")
    folder = next(p for p in path.absolute().parents if p.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):  # file modes do not tell of read-only file systems
            pass
    except OSError as error:
        why = f"{folder} takes no files ({error.strerror or error})"
        raise InputError(f"{path} cannot be written: {why}; choose another --report") from error
    if not path.exists():
        return
    try:
        with path.open("r+b") as stream:
            ours = stream.read(len(MARKER)) == MARKER.encode()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another --report") from error
    if not ours:
        raise InputError(f"{path} is there already and is no calibration report; choose another --report")


def write_report(path: Path, outcome: Outcome) -> None:
    """Write the report, in place of an older one.

    Raises
    ------
    InputError
        It cannot be written, or another file is there.
    MissingDependencyError
        matplotlib or jinja2 is not installed.
    """
    refuse_to_overwrite(path, outcome.draft.path)
    page = render(outcome, draw_differences(outcome))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(
            f"the calibration is done, but its report {path} cannot be written: {error.strerror or error}"
        ) from error


def render(outcome: Outcome, overlays: Sequence[Overlay]) -> str:
    """Return the HTML page."""
    require_packages()
    import jinja2

    from jetspect.calibration.plots import draw_activations, draw_blocks

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    shown, hidden = clipped(outcome)
    strata = [(s, outcome.chosen.crops.strata.get(s, 0), n) for s, n in outcome.chosen.left_out.items()]
    return environment.get_template("calibration.html").render(
        marker=MARKER,
        o=outcome,
        manifest=outcome.draft.manifest,
        headlines=_headlines(outcome),
        images=whole_images(outcome),
        tiles=_tiles(outcome),
        blocks=draw_blocks(outcome.found, outcome.fp32),
        activations=draw_activations(shown),
        hidden=hidden,
        kept=kept(outcome),
        trt8=trt8_forms(outcome),
        crops=draw_crops(outcome.chosen.crops),
        strata=strata,
        overlays=overlays,
        key=[(css(TRUTH), "labelled"), (css(FP32), "said in FP32"), (css(INT8), "said in INT8")],
    )


def whole_images(outcome: Outcome) -> list[Line]:
    """Return the table of all precisions side by side."""
    rows = outcome.rows
    lines = []
    for title, names in SECTIONS.items():
        lines.append(Line(title))
        for name in names:
            values = [row.measures[name] for row in rows]
            if any(v is not None for v in values):
                lines.append(Line(TEXTS[name], _cells(values, lower=name in LOWER_IS_BETTER)))
        if title == "Defects":
            lines += _by_size(rows)
    lines += [Line("IoU of each class"), *_by_class(rows)] if len(rows[0].evaluation.shared) > 1 else []
    alarms = {"fp32": outcome.fp32.false_tiles, "int8": outcome.found.quality.false_tiles}
    lines.append(Line("Tiles that plans were compared on"))
    lines.append(Line("clean tiles with anything found", _cells([alarms.get(r.name) for r in rows], lower=True)))
    lines.append(Line("Thresholds"))
    lines.append(Line("threshold with the best IoU", tuple(_level(r.best_level, rows[0].best_level) for r in rows)))
    shifts: dict[str, int] = {p: graph.threshold_shift for p, graph in outcome.draft.manifest.graphs.items()}
    if any(shifts.values()):
        cells = tuple(Cell(f"{shift:+d} levels" if (shift := shifts.get(row.name, 0)) else "0 levels") for row in rows)
        lines.append(Line("the bundle's thresholds are moved by", cells))
    return lines


def kept(outcome: Outcome) -> list[Kept]:
    """Return what stays in FP16, block by block, with the reason."""
    total, groups = sum(c.macs for c in outcome.convolutions), dict[tuple[str, str], list[int]]()
    for c in outcome.convolutions:
        if c.name in outcome.kept:
            groups.setdefault((c.block, outcome.kept[c.name]), []).append(c.macs)
    return [Kept(block, len(macs), f"{100 * sum(macs) / total:.2f} %", why) for (block, why), macs in groups.items()]


def trt8_forms(outcome: Outcome) -> list[tuple[str, str, str, str]]:
    """Return what was tried for TensorRT 8.6: form, share in INT8, IoU, and whether it was taken or why not.

    Nothing where no transposed convolution is in INT8, since there was no choice.
    """
    if [step.transposed for step in outcome.trt8] == ["none"]:
        return []
    return [
        (
            TRANSPOSED[step.transposed],
            f"{step.int8_share:.1%}",
            f"{step.accuracy['iou']:.4f}" if "iou" in step.accuracy else "-",
            "yes" if step.taken else f"no: {'; '.join(step.faults)}",
        )
        for step in outcome.trt8
    ]


def clipped(outcome: Outcome, most: int = HISTOGRAMS) -> tuple[list[Clipped], int]:
    """Return the activations that INT8 convolutions read, in the order of the graph, and how many were left out.

    Where there are more than ``most``, those of the blocks with the largest error of the scores are kept.
    """
    from jetspect.calibration.plots import Clipped

    readers: dict[str, list[str]] = {}
    for c in outcome.convolutions:
        if c.name in outcome.found.plan.nodes:
            readers.setdefault(c.data, []).append(c.block)
    errors = {b.block: b.quality.error_levels for b in outcome.found.losses}
    worst = sorted(readers, key=lambda t: max(errors.get(b, 0.0) for b in readers[t]), reverse=True)[:most]
    limits = {t: max(-low, high) for t, (low, high) in outcome.ranges.items()}
    # Activations with one scale take the widest of their ranges.
    for group in outcome.found.plan.shared:
        limits |= dict.fromkeys(group, max(limits[t] for t in group))
    shown = [
        Clipped(t, tuple(dict.fromkeys(blocks)), outcome.histograms[t], limits[t])
        for t, blocks in readers.items()
        if t in worst
    ]
    return shown, len(readers) - len(shown)


def _headlines(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Return number, what it is, and what to compare it with."""
    rows = {row.name: row.measures for row in outcome.rows}
    found = [(f"{outcome.int8_share:.1%}".replace("%", " %"), "of the multiply-adds in INT8", "the rest stays in FP16")]
    for name in ("iou", "object_recall", "image_fpr"):
        before, after = rows["fp32"][name], rows["int8"][name]
        if before is not None and after is not None:
            found.append((f"{after:.4f}", f"{TEXTS[name]}, INT8", f"FP32 {before:.4f}, {_signed(after - before)}"))
    return found


def _tiles(outcome: Outcome) -> list[tuple[str, Quality, bool]]:
    """Return what was judged on the judge's tiles: name, what it reaches, whether it was chosen."""
    found = outcome.found
    methods = [(f"{m}, every block in INT8", q, m == found.method) for m, q in found.methods.items()]
    return [("FP32", outcome.fp32, False), *methods, ("the INT8 graph in the end", found.quality, True)]


def _by_size(rows: Sequence[Row]) -> Iterable[Line]:
    tables = [row.recall_by_size() for row in rows]
    for bins in zip(*tables, strict=True):
        low, high, count, _ = bins[0]
        size = f"{low:.0f} px and more" if math.isinf(high) else f"{low:.0f} to {high - 1:.0f} px"
        if count:
            yield Line(f"found, {size} ({count} defects)", _cells([recall for *_, recall in bins]))


def _by_class(rows: Sequence[Row]) -> Iterable[Line]:
    for name in rows[0].evaluation.shared:
        yield Line(name, _cells([row.evaluation.classes_as_dict()[name]["iou"] for row in rows]))


def _cells(values: Sequence[Value], *, lower: bool = False) -> tuple[Cell, ...]:
    first = values[0]
    return tuple(_cell(v, None if n == 0 else first, lower) for n, v in enumerate(values))


def _cell(value: Value, before: Value, lower: bool) -> Cell:
    if value is None or math.isnan(value):
        return Cell("-")
    if before is None or math.isnan(before):
        return Cell(f"{value:.4f}")
    change = value - before
    return Cell(f"{value:.4f}", _signed(change), (change if lower else -change) >= _WORTH_A_WORD)


def _level(level: int, before: int) -> Cell:
    shift = level - before
    return Cell(f"{level / 255:.3f}", f"{shift:+d} level{'' if abs(shift) == 1 else 's'}" if shift else "same")


def _signed(change: float) -> str:
    return "same" if abs(change) < _NOISE else f"{change:+.4f}"
