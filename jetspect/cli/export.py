"""``jetspect export``: turn a checkpoint into a bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jetspect.cli.output import JsonOption, console, print_json
from jetspect.errors import InputError, MissingDependencyError


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="Checkpoint of jetspect train, or bare weights.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Bundle folder to write.")],
    dataset: Annotated[str, typer.Option(help="Kind of data set for real tiles; jetspect data kinds lists them.")],
    data: Annotated[Path | None, typer.Option(help="Its folder.")] = None,
    split: Annotated[str, typer.Option(help="Split the tiles and the accuracy come from.")] = "val",
    name: Annotated[str | None, typer.Option(help="Name of the bundle; the folder's by default.")] = None,
    version: Annotated[str, typer.Option(help="Version of the bundle.")] = "1.0.0",
    description: Annotated[str, typer.Option(help="One sentence on what it finds.")] = "",
    notes: Annotated[
        Path | None, typer.Option(help="Markdown for the model card: attribution, licence of the data.")
    ] = None,
    tile: Annotated[int | None, typer.Option(help="Default tile edge in px; chosen from the halo by default.")] = None,
    frame: Annotated[
        str | None,
        typer.Option(help="For models that see whole frames: their size, as 704x256; the checkpoint's by default."),
    ] = None,
    rendered_golden: Annotated[
        bool,
        typer.Option("--rendered-golden", help="Take golden tiles from the synthetic camera, not from the data set."),
    ] = False,
    model: Annotated[str | None, typer.Option(help="For bare weights: registered name or module:factory.")] = None,
    classes: Annotated[str | None, typer.Option(help="For bare weights: class names, comma separated.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="For bare weights: mean per channel, 0-255, comma separated.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="For bare weights: standard deviation per channel, likewise.")] = None,
    foreground: Annotated[
        Path | None, typer.Option(help="Stage one: checkpoint of a model that finds the part on shrunken images.")
    ] = None,
    foreground_scale: Annotated[
        int | None, typer.Option(help="Times the frame is shrunk for stage one; by default what its checkpoint says.")
    ] = None,
    foreground_margin: Annotated[
        int | None,
        typer.Option(help="Frame px by which the part is grown; two pixels of the shrunken frame by default."),
    ] = None,
    min_foreground: Annotated[
        float, typer.Option(help="Share of a frame that must show the part; below it is UNKNOWN.")
    ] = 0.005,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder if it exists.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Export a model as a bundle: FP32 and FP16 graphs, measured halo, parity and golden tiles from real images.

    Example: jetspect export runs/metal-demo/best.pt --dataset synthetic --out bundles/metal-demo
    """
    try:
        from jetspect.calibration.foreground import ForegroundOptions
        from jetspect.calibration.prepare import BareWeights, ExportOptions, export_checkpoint
        from jetspect.export.bundle import manifest_json
    except ImportError as error:
        raise MissingDependencyError(error.name or "torch", "exporting", "pip install 'jetspect[export]'") from error

    command = "jetspect " + " ".join(sys.argv[1:])
    first = None
    if foreground is not None:
        first = ForegroundOptions(foreground, foreground_scale, foreground_margin, min_foreground)
    elif foreground_scale is not None or foreground_margin is not None:
        raise InputError("--foreground-scale and --foreground-margin need --foreground STAGE1.pt")
    bare = BareWeights.parse(model, classes, mean, std) if model is not None else None
    options = ExportOptions(
        dataset=dataset,
        data=data,
        split=split,
        name=name or out.resolve().name,
        version=version,
        description=description,
        notes=notes,
        tile_px=tile,
        frame_wh=None if frame is None else _frame_wh(frame),
        golden_from="rendered" if rendered_golden else "data",
        bare=bare,
        foreground=first,
        command=command,
    )
    with console.status("exporting") as status:
        if as_json:
            status.stop()
        manifest = export_checkpoint(checkpoint, out, options, force=force, report=status.update)
    if as_json:
        print_json({"bundle": str(out), "manifest": manifest_json(manifest)})
        return
    t = manifest.tiling
    console.print(f"[bold]{out}[/bold]  {manifest.name} {manifest.version}")
    if t.frame_wh is not None:
        console.print(f"sees whole frames resized to {t.frame_wh[0]} x {t.frame_wh[1]} px; never tiled")
        if "fp16" not in manifest.graphs:
            console.print("no fp16 graph: it differs too much from the model; MODEL_CARD.md says by how much")
    elif t.mode == "exact":
        console.print(
            f"stride {t.stride_px} px, halo {t.halo_px} px (error {t.halo_error:.1e}), tiles of {t.tile_px} px"
        )
    else:
        console.print(f"no halo makes tiles exact: overlaps of {t.halo_px} px are blended, tiles of {t.tile_px} px")
    for precision, graph in manifest.graphs.items():
        accuracy = ", ".join(f"{k} {v:.3f}" for k, v in graph.accuracy.items())
        parity = f"differs by {graph.parity.max_abs:.1e}, mask IoU {graph.parity.mask_iou:.4f}"
        console.print(f"{precision}: {parity}{'; ' if accuracy else ''}{accuracy}")
    if manifest.foreground is not None:
        stage = manifest.foreground
        told = ", ".join(f"{k} {v:.3f}" for k, v in stage.graphs["fp32"].accuracy.items())
        console.print(f"stage one: the frame shrunk {stage.scale} times, stride {stage.stride_px} px, {told}")


def _frame_wh(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise InputError(f"--frame is WIDTHxHEIGHT in px, for example 704x256; got {text!r}")
    return int(width), int(height)
