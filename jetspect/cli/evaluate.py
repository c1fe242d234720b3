"""``jetspect evaluate``: judge a bundle on a labelled data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from jetspect.cli.inspect import as_precision
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.evaluation.datasets import open_dataset
from jetspect.evaluation.evaluate import evaluate as judge
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.settings import parse_settings


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    path: Annotated[Path | None, typer.Argument(help="Folder of the data set.", show_default=False)] = None,
    dataset: Annotated[str, typer.Option(help="Kind of data set: bsdata, folder or synthetic.")] = "folder",
    split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
    precision: Annotated[str, typer.Option(help="Graph to run: fp32, fp16 or int8.")] = "fp32",
    tile: Annotated[int | None, typer.Option(help="Tile edge in px; the bundle's own by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what a bundle finds with the labels of a data set, through the same code that a station runs.

    Example: jetspect evaluate bundles/bsd-pitting PATH --dataset bsdata --split val
    """
    opened = Bundle.open(bundle)
    data = open_dataset(dataset, path, split)
    engine, _ = open_engine(opened, precision=as_precision(precision))
    classes = tuple(c.name for c in opened.manifest.output.classes)
    settings = parse_settings({"tiling": {"tile_px": tile}}, InspectorSettings, where="evaluate")
    with Inspector(opened, engine, settings) as inspector, progress() as bar:
        task = bar.add_task("evaluating", total=len(data))
        result = judge(data, inspector.segment, classes, lambda done, _: bar.update(task, completed=done))
    measures, per_class = result.as_dict(), result.classes_as_dict()
    if as_json:
        print_json({**measures, "per_class": per_class, "dataset": dataset, "split": split, "graph": precision})
        return
    table = Table("measure", "value", title=f"{opened.manifest.name} on {dataset} {split} ({engine.info})")
    for name, value in measures.items():
        table.add_row(name, "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value))
    for name, values in per_class.items():
        table.add_row(f"{name} iou", "-" if values["iou"] is None else f"{values['iou']:.4f}")
    console.print(table)
