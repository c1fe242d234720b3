"""``jetspect data``: what kinds of data sets there are, and whether one is fit to learn from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer
from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Column, Table

from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.errors import InputError
from jetspect.evaluation.datasets import KINDS, open_dataset
from jetspect.evaluation.datasets.check import DataCheck, check_dataset
from jetspect.evaluation.datasets.contact import draw_sheet
from jetspect.evaluation.datasets.info import ALL_TASKS

app = typer.Typer(help="Look at labelled data sets: which kinds can be read, and whether one is fit to learn from.")
_SHOWN = 20


@app.command()
def kinds(as_json: JsonOption = False) -> None:
    """List every kind of data set, what its labels support, and what they do not.

    Example: jetspect data kinds
    """
    if as_json:
        print_json([asdict(info) for info in KINDS.values()])
        return
    table = Table(Column("kind", no_wrap=True), "what", "labels", "split", Column("not for", min_width=12), box=SIMPLE)
    for info in KINDS.values():
        kind = f"{info.kind}\n  :{info.option}" if info.option else info.kind
        missing = [task for task in ALL_TASKS if task not in info.tasks]
        table.add_row(
            kind,
            info.title,
            info.labels,
            info.split,
            ", ".join(missing if info.training_defects else [*missing, "training"]),
        )
    console.print(table)


@app.command()
def check(
    path: Annotated[Path | None, typer.Argument(help="Folder of the data set.", show_default=False)] = None,
    dataset: Annotated[str, typer.Option(help="Kind of data set; jetspect data kinds lists them.")] = "folder",
    out: Annotated[Path | None, typer.Option(help="Contact sheet to draw: .png or .jpg.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a contact sheet that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every image and label once: count them, name every fault, draw a contact sheet. Exit code 1: it has faults.

    Example: jetspect data check bsdata --dataset bsdata --out sheet.png
    """
    if out is not None and out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(f"{out} is no .png or .jpg; a contact sheet is one of them")
    if out is not None and out.exists() and not force:
        raise InputError(f"{out} is there already; choose another --out or replace it with --force")
    with progress() as bar:
        task = bar.add_task("checking", total=None)
        found = check_dataset(dataset, path, on_image=lambda done, total: bar.update(task, completed=done, total=total))
    if out is not None and found.examples:
        _write_sheet(out, dataset, path, found)
    if as_json:
        print_json(_as_dict(found))
    else:
        _tell(found, out)
    if found.problems:
        raise typer.Exit(1)


def _write_sheet(out: Path, dataset: str, path: Path | None, found: DataCheck) -> None:
    sheet = draw_sheet(open_dataset(dataset, path, "all"), found.examples)
    _, data = cv2.imencode(out.suffix.lower(), sheet)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror}") from error


def _as_dict(found: DataCheck) -> dict[str, Any]:
    return {
        "dataset": found.dataset,
        "splits": {name: asdict(count) for name, count in found.splits.items()},
        "classes": {
            name: {"images": c.images, "defects": len(c.areas_px), "area_px": _quartiles(c.areas_px)}
            for name, c in found.classes.items()
        },
        "sizes": [{"width": w, "height": h, "images": n} for (w, h), n in sorted(found.sizes.items())],
        "notes": found.notes,
        "problems": found.problems,
    }


def _quartiles(areas: list[int]) -> dict[str, float] | None:
    if not areas:
        return None
    names = ("least", "quarter", "median", "three_quarters", "most")
    return dict(zip(names, np.quantile(areas, (0, 0.25, 0.5, 0.75, 1)).tolist(), strict=True))


def _tell(found: DataCheck, out: Path | None) -> None:
    if found.splits:
        table = Table(
            "split", "images", "defective", "clean", "without label", title=escape(f"data set {found.dataset}")
        )
        for split, count in found.splits.items():
            table.add_row(escape(split), *map(str, (count.images, count.defective, count.clean, count.unlabelled)))
        console.print(table)
        classes = Table("class", "images", "defects", "area in px: least", "median", "most")
        for name, shown in found.classes.items():
            areas = _quartiles(shown.areas_px)
            values = ("", "", "") if areas is None else (f"{areas[k]:.0f}" for k in ("least", "median", "most"))
            classes.add_row(escape(name), str(shown.images), str(len(shown.areas_px)), *values)
        console.print(classes)
        console.print(f"sizes: {_sizes(found.sizes)}")
        if out is not None and found.examples:
            console.print(f"contact sheet: {out}", markup=False)
    for note in found.notes:
        console.print(f"note: {note}", markup=False)
    for problem in found.problems[:_SHOWN]:
        console.print(f"problem: {problem}", style="red", markup=False)
    if len(found.problems) > _SHOWN:
        console.print(f"and {len(found.problems) - _SHOWN} more; --json names them all", style="red")
    if not found.problems:
        console.print("no problem found", style="green")


def _sizes(sizes: dict[tuple[int, int], int]) -> str:
    if len(sizes) > 3:
        widths, heights = zip(*sizes, strict=True)
        return (
            f"{len(sizes)} different, {min(widths)} to {max(widths)} px wide, {min(heights)} to {max(heights)} px high"
        )
    return ", ".join(f"{w} x {h} px ({n} images)" for (w, h), n in sorted(sizes.items()))
