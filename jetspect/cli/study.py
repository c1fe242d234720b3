"""``jetspect study``: train several models with several losses and compare them in one table."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.device.probe import probe
from jetspect.errors import MissingDependencyError
from jetspect.runtime.settings import load_settings


def study(
    config: Annotated[
        Path, typer.Argument(help="Training file (TOML); model and loss in it are replaced.", show_default=False)
    ],
    data: Annotated[Path | None, typer.Option(help="Folder of the data set; goes before the file's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs; one sub-folder each.")] = Path("runs/study"),
    model: Annotated[
        list[str] | None, typer.Option(help="Model to train; repeat for more. The paper's five by default.")
    ] = None,
    loss: Annotated[
        list[str] | None, typer.Option(help="bce, dice or bce+dice; repeat for more. All three by default.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Probability from which a pixel is a defect.")] = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Train every model with every loss and print precision, recall, F1 and IoU over all validation pixels.

    Finished runs are kept: an interrupted study goes on where it was.

    Example: jetspect study training/configs/sink-unet.toml --data PATH --model plain-unet --model res50-unet
    """
    try:
        from jetspect.training.config import TrainConfig
        from jetspect.training.study import LOSSES, PAPER_MODELS, plan, run_study
    except ImportError as error:
        raise MissingDependencyError(error.name or "torch", "training", "pip install 'jetspect[train]'") from error

    base = load_settings(config, TrainConfig)
    pairs = plan(tuple(model or PAPER_MODELS), tuple(loss or LOSSES))
    table = Table("model", "loss", "PR", "REC", "F1", "IoU", "minutes", title=f"threshold {threshold:g}")
    cells = []
    with progress() as bar:
        whole = bar.add_task("study", total=len(pairs))
        task = bar.add_task("", total=None)
        for cell in run_study(
            base,
            pairs,
            out,
            data=data,
            threshold=threshold,
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        ):
            bar.advance(whole)
            cells.append(cell)
            measures = (cell.precision, cell.recall, cell.f1, cell.iou)
            table.add_row(
                cell.model,
                cell.loss,
                *("-" if math.isnan(v) else f"{v:.3f}" for v in measures),
                f"{cell.minutes:.1f}",
            )
    if as_json:
        print_json({"threshold": threshold, "machine": probe().as_dict(), "cells": [asdict(c) for c in cells]})
    else:
        console.print(table)
