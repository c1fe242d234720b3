"""``jetspect inspect``: judge image files."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import cv2
import typer
from rich.markup import escape

from jetspect.cli.engine import BatchOption, EngineOption, PrecisionOption, TileOption, open_for
from jetspect.cli.output import VERDICT_STYLE, JsonOption, console, print_json, progress
from jetspect.errors import ImageError, InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.frames import Frame
from jetspect.runtime.images import SUFFIXES, read_image
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.publishing.describing import describe_defects, timings_ms
from jetspect.runtime.publishing.evidence import plain_name
from jetspect.runtime.publishing.overlay import draw_overlay
from jetspect.runtime.results import Inspection, Verdict
from jetspect.runtime.settings import parse_settings


def inspect(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or .zip.", show_default=False)],
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.", show_default=False)],
    engine: EngineOption = "onnxruntime",
    precision: PrecisionOption = "fp32",
    tile: TileOption = None,
    batch: BatchOption = 1,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 takes every core.")] = 0,
    pixel_pitch_mm: Annotated[
        float | None, typer.Option(help="Edge of one pixel on the part, for areas in mm2.")
    ] = None,
    view: Annotated[Path | None, typer.Option(help="Calibrated view instead, of jetspect camera calibrate.")] = None,
    overlay: Annotated[Path | None, typer.Option(help="Folder for pictures with the defects drawn in.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Inspect images and say OK, NOK or UNKNOWN for each. Exit code 1 when any is not OK.

    Example: jetspect inspect bundles/metal-demo part.png --overlay out
    """
    opened = Bundle.open(bundle)
    paths = _files(images)
    names = Counter(path.name for path in paths)
    settings = parse_settings(
        {"tiling": {"tile_px": tile, "batch": batch}, "pixel_pitch_mm": pixel_pitch_mm, "view": view},
        InspectorSettings,
        where="inspect",
    )
    running, golden = open_for(opened, engine, precision, tile=tile, batch=batch, threads=threads)
    answers: list[dict[str, Any]] = []
    unreadable: list[ImageError] = []
    verdicts: list[Verdict] = []
    with running, Inspector(opened, running, settings) as inspector, progress() as bar:
        task = bar.add_task("inspecting", total=len(paths))
        if not as_json:
            console.print(f"{opened.manifest.name} {opened.manifest.version} on {running.info}; {golden}")
        for path in paths:
            try:
                frame = Frame(read_image(path), frame_id=str(path), origin=str(path))
            except ImageError as error:
                unreadable.append(error)
                answers.append({"image": str(path), "verdict": "UNKNOWN", "reasons": [str(error)], "defects": []})
                if not as_json:
                    console.print(f"[{VERDICT_STYLE['UNKNOWN']}]UNKNOWN[/]  {escape(str(error))}")
            else:
                inspection = inspector.inspect(frame)
                verdicts.append(inspection.verdict)
                answers.append(_answer(path, inspection))
                if overlay is not None:
                    _draw(path.name if names[path.name] == 1 else str(path), frame, inspection, overlay)
                if not as_json:
                    _tell(path, inspection)
            bar.advance(task)
    if as_json:
        print_json({"bundle": opened.manifest.name, "engine": str(running.info), "inspections": answers})
    if unreadable:
        sys.exit(2)
    sys.exit(0 if all(v is Verdict.OK for v in verdicts) else 1)


def _files(images: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in images:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise InputError(f"folder {path} holds no image ({', '.join(sorted(SUFFIXES))})")
            found += inside
        else:
            found.append(path)
    return found


def _answer(path: Path, inspection: Inspection) -> dict[str, Any]:
    decided = {} if inspection.decision is None else {"decision": round(inspection.decision, 4)}
    return {
        "image": str(path),
        "verdict": inspection.verdict.value,
        "reasons": list(inspection.reasons),
        **decided,
        "size_wh": inspection.size_wh,
        "defects": [d.model_dump(mode="json") for d in describe_defects(inspection)],
        "defects_truncated": inspection.defects_truncated,
        "tiles": inspection.tiles,
        "tiles_skipped": inspection.tiles_skipped,
        "timings_ms": timings_ms(inspection),
    }


def _tell(path: Path, inspection: Inspection) -> None:
    verdict = inspection.verdict.value
    reasons = escape("; ".join(inspection.reasons))
    decided = "" if inspection.decision is None else f"  decision {inspection.decision:.3f}"
    time_ms = inspection.timings.total_ms
    console.print(
        f"[{VERDICT_STYLE[verdict]}]{verdict:7}[/]  {escape(str(path))}{decided}  {time_ms:.0f} ms  {reasons}"
    )
    for d in inspection.defects[:10]:
        left, top, right, bottom = d.box_xyxy
        area = f"{d.area_px} px" + (f" = {d.area_mm2:.2f} mm2" if d.area_mm2 is not None else "")
        console.print(f"         {d.class_name} {area} at x {left}-{right}, y {top}-{bottom}, peak {d.peak:.2f}")
    if len(inspection.defects) > 10:
        console.print(f"         and {len(inspection.defects) - 10} more (--json lists all)")


def _draw(name: str, frame: Frame, inspection: Inspection, folder: Path) -> None:
    target = folder / f"{plain_name(name)}.overlay.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(cv2.imencode(".png", draw_overlay(frame.image, inspection))[1].tobytes())
    except OSError as error:
        raise InputError(f"overlay {target} cannot be written: {error.strerror or error}") from error
