"""``jetspect evaluate``: judge a bundle on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.engine import BatchOption, EngineOption, PrecisionOption, TileOption, open_for
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.device.probe import probe
from jetspect.evaluation.datasets import open_dataset
from jetspect.evaluation.evaluate import evaluate as judge
from jetspect.evaluation.report import (
    SECTIONS,
    TEXTS,
    Subject,
    refuse_to_overwrite,
    require_packages,
    summarise,
    write_report,
)
from jetspect.evaluation.worst import draw_worst
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.settings import parse_settings


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    path: Annotated[Path | None, typer.Argument(help="Folder of the data set.", show_default=False)] = None,
    dataset: Annotated[str, typer.Option(help="Kind of data set; jetspect data kinds lists them.")] = "folder",
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    engine: EngineOption = "onnxruntime",
    precision: PrecisionOption = "fp32",
    tile: TileOption = None,
    batch: BatchOption = 1,
    out: Annotated[Path | None, typer.Option(help="Folder for report.html and evaluation.json.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a report that is there.")] = False,
    resamples: Annotated[int, typer.Option(min=100, help="Resamples of the 95 % intervals.")] = 1000,
    boundary: Annotated[
        int | None, typer.Option(min=1, help="Width of outlines in Boundary IoU in px; 2 % of the diagonal by default.")
    ] = None,
    covered: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a defect that must be covered to be found; 0: any pixel.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Compare what a bundle finds with the labels of a data set, through the same code that a station runs.

    Example: jetspect evaluate bundles/bsd-pitting PATH --dataset bsdata --split val --out evaluation
    """
    if out is not None:
        refuse_to_overwrite(out, force=force)
        require_packages()
    opened = Bundle.open(bundle)
    data = open_dataset(dataset, path, split, protocol="evaluate")
    running, _ = open_for(opened, engine, precision, tile=tile, batch=batch)
    output = opened.manifest.output
    settings = parse_settings({"tiling": {"tile_px": tile, "batch": batch}}, InspectorSettings, where="evaluate")
    subject = Subject(f"{opened.manifest.name} {opened.manifest.version}", str(running.info), dataset, split)
    with running, Inspector(opened, running, settings) as inspector, progress() as bar:
        task = bar.add_task("evaluating", total=len(data))
        result = judge(
            data,
            inspector.predict,
            tuple(c.name for c in output.classes),
            lambda done, _: bar.update(task, completed=done),
            decision_threshold=None if output.decision is None else output.decision.threshold,
            boundary_px=boundary,
            least_covered=covered,
        )
        summary = {
            **summarise(result, subject, model_classes=tuple(c.name for c in output.classes), resamples=resamples),
            "graph": precision,
            "manifest_sha256": opened.manifest_sha256,
            "machine": probe().as_dict(),
        }
        if out is not None:
            overlays = draw_worst(result.worst(), data, inspector.predict)
            page = write_report(out, result, summary, overlays, force=force)
    if as_json:
        print_json(summary)
        return
    console.print(_table(summary, escape(f"{subject.model} on {dataset} {split} ({subject.engine})")))
    if summary["accuracy_warning"]:
        console.print(f"accuracy: {summary['accuracy_warning']}")
    for note in summary["notes"]:
        console.print(f"note: {note}", markup=False)
    if out is not None:
        console.print(f"look at {page}", markup=False)


def _table(summary: dict[str, Any], title: str) -> Table:
    table = Table("measure", "value", "95 %", "", title=title)
    for section, names in SECTIONS.items():
        for name in names:
            if (value := summary[name]) is None:
                continue
            interval = summary["ci95"][name]
            span = "" if interval is None else f"{interval[0]:.3f} - {interval[1]:.3f}"
            table.add_row(name, f"{value:.4f}", span, f"{section.lower()}: {TEXTS[name]}")
        table.add_section()
    for name in ("image_fp", "image_fn", "n", "n_defective", "n_objects"):
        table.add_row(name, str(summary[name]), "", "")
    for row in summary["recall_by_area_px"]:
        if row["recall"] is not None:
            span = (
                f"{row['from']:.0f} px and more"
                if row["to"] is None
                else f"{row['from']:.0f} to {row['to'] - 1:.0f} px"
            )
            table.add_row(f"recall, {span}", f"{row['recall']:.4f}", "", f"of {row['n']} defects")
    for name, values in summary["found_by_class"].items():
        if values["n"]:
            table.add_row(
                escape(f"{name} found"),
                f"{values['object_recall']:.4f}",
                "",
                f"of {values['n']} defects, whatever class was said",
            )
    for name, values in summary["per_class"].items():
        if values["iou"] is not None:
            table.add_row(escape(f"{name} iou"), f"{values['iou']:.4f}", "", "pixels of this class")
    return table
