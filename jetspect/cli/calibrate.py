"""``jetspect calibrate``: INT8 graphs that keep the defects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.markup import escape
from rich.table import Table

from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.device.probe import probe
from jetspect.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    from jetspect.calibration.outcome import Outcome

SHOWN = ("iou", "iou_mean", "dice", "object_recall", "object_precision", "image_recall", "image_fpr")


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder; the INT8 graphs go into it.", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder of the data set.")] = None,
    dataset: Annotated[str, typer.Option(help="Kind of data set; jetspect data kinds lists them.")] = "folder",
    crops_from: Annotated[str, typer.Option(help="Split that ranges are measured on.")] = "train",
    judge_on: Annotated[str, typer.Option(help="Split that INT8 is judged on.")] = "val",
    method: Annotated[str, typer.Option(help="auto (by what it loses), min-max, percentile, mse or entropy.")] = "auto",
    crops: Annotated[int, typer.Option(min=16, help="Calibration crops.")] = 512,
    max_iou_drop: Annotated[float, typer.Option(min=0, max=1, help="IoU that INT8 may lose against FP32.")] = 0.005,
    max_recall_drop: Annotated[
        float, typer.Option(min=0, max=1, help="How much the share of defects found may fall.")
    ] = 0.0,
    min_int8: Annotated[float, typer.Option(min=0, max=1, help="Share of the multiply-adds that must be INT8.")] = 0.8,
    tile: Annotated[int, typer.Option(min=1, max=4096, help="Edge of the crops in px.")] = 384,
    judge_tiles: Annotated[
        int, typer.Option(min=8, help="Tiles that plans are compared on; whole images have the last word.")
    ] = 96,
    checkpoint: Annotated[
        Path | None, typer.Option(help="What the bundle was exported from, to put PyTorch into the table.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of crops.")] = 0,
    report: Annotated[
        Path | None, typer.Option(help="HTML report; BUNDLE-calibration.html beside the bundle by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Quantise a bundle's model to INT8 on defect crops, judge it, and put its INT8 graphs into the bundle.

    Exit code 1, and an unchanged bundle, when INT8 loses more than it may.

    Example: jetspect calibrate bundles/bsd-pitting --data PATH --dataset bsdata
    """
    try:
        from jetspect.calibration.calibrate import calibrate as run
        from jetspect.calibration.gate import Limits
        from jetspect.calibration.options import CalibrateOptions
        from jetspect.calibration.ranges import METHODS, Method
        from jetspect.calibration.report import default_path, refuse_to_overwrite, write_report
        from jetspect.evaluation.report import require_packages
    except ImportError as error:
        raise MissingDependencyError(error.name or "onnx", "calibrating", "pip install 'jetspect[export]'") from error
    if method != "auto" and method not in METHODS:
        raise InputError(f"method {method!r} is not known; use auto, {', '.join(METHODS)}")
    page = default_path(bundle) if report is None else report
    refuse_to_overwrite(page, bundle)
    require_packages()
    options = CalibrateOptions(
        dataset=dataset,
        data=data,
        crops_from=crops_from,
        judge_on=judge_on,
        method=cast("Method", method),
        crops=crops,
        limits=Limits(max_iou_drop, max_recall_drop),
        least_int8=min_int8,
        seed=seed,
        tile_px=tile,
        judge_tiles=judge_tiles,
        checkpoint=checkpoint,
    )
    with progress() as bar:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(escape(what), total=total)
            bar.update(tasks[what], completed=done)
            if done == total:
                bar.remove_task(tasks.pop(what))

        outcome = run(bundle, options, show)
        bar.add_task("drawing the report", total=None)
        write_report(page, outcome)
    if as_json:
        print_json({"bundle": str(bundle), "report": str(page), "machine": probe().as_dict(), **outcome.as_dict()})
    else:
        _print(bundle, outcome)
        console.print(f"look at {page}", markup=False)
    if not outcome.passed:
        sys.exit(1)


def _print(bundle: Path, outcome: Outcome) -> None:
    recipe, rows = outcome.recipe, outcome.rows
    table = Table("whole images", *(row.name for row in rows), title=escape(f"{bundle} on {recipe['judged_on']}"))
    for name in SHOWN:
        values = [row.measures[name] for row in rows]
        if any(v is not None for v in values):
            table.add_row(name, *("-" if v is None else f"{v:.4f}" for v in values))
    table.add_row("best threshold", *(f"{row.best_level / 255:.3f}" for row in rows))
    console.print(table)
    quality, found = outcome.found.quality, outcome.found
    console.print(
        f"{recipe['crops']} crops of {recipe['data']}, ranges by {found.method}; "
        f"{outcome.int8_share:.1%} of the multiply-adds in INT8"
    )
    console.print(
        f"on {len(outcome.judge)} tiles: IoU {outcome.fp32.iou:.4f} to {quality.iou:.4f}, "
        f"defects found {outcome.fp32.recall:.4f} to {quality.recall:.4f}, "
        f"small ones {outcome.fp32.small_recall:.4f} to {quality.small_recall:.4f}"
    )
    if found.given_back:
        console.print(f"back to FP16: {', '.join(found.given_back)}", markup=False)
    for note in outcome.notes:
        console.print(f"note: {note}", markup=False)
    if outcome.passed:
        graphs = ", ".join(p for p in outcome.manifest.graphs if p.startswith("int8")) if outcome.manifest else ""
        console.print(
            f"[bold green]passed[/bold green]  {escape(str(bundle))} has {graphs} now; sign it again if it was signed"
        )
    else:
        for fault in outcome.faults:
            console.print(f"[bold red]not passed[/bold red]  {escape(fault)}")
        console.print(
            f"{escape(str(bundle))} is unchanged; more --crops, another --method or a longer training may help"
        )
