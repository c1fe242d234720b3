"""``jetspect camera grab`` and ``record``: pictures of a camera as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.cli.camera.source import (
    GigeOption,
    GStreamerOption,
    StationArgument,
    VideoOption,
    ViewOption,
    first_frame,
    open_camera,
    stopping,
)
from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import Frame, LostFrame, Source
from jetspect.runtime.sources.recorder import Recorder, write_png


def grab(
    out: Annotated[Path, typer.Option(help="PNG file; an older one is replaced.", show_default=False)],
    station: StationArgument = None,
    gige: GigeOption = None,
    gstreamer: GStreamerOption = None,
    video: VideoOption = None,
    which: ViewOption = None,
    skip: Annotated[int, typer.Option(min=0, help="Frames to let pass, until an automatic exposure settled.")] = 0,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a frame.")] = 10.0,
    as_json: JsonOption = False,
) -> None:
    """Take one frame and save it as a PNG with exactly its pixels.

    Example: jetspect camera grab station.toml --out part.png
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out} must end in .png, which keeps every pixel as it is")
    with open_camera(station, gige, gstreamer, video, which) as source:
        frame = first_frame(source, skip=skip, timeout_s=timeout_s)
    write_png(frame.image, out)
    width, height = frame.size_wh
    colour = "grey" if frame.image.ndim == 2 else "colour"
    if as_json:
        at = frame.captured_at.isoformat()
        print_json({"image": str(out), "size_wh": [width, height], "colour": colour, "captured_at": at})
    else:
        console.print(f"{out}: {width} x {height} px, {colour}, captured {frame.captured_at:%H:%M:%S}", markup=False)


def record(
    out: Annotated[Path, typer.Option(help="New or empty folder.", show_default=False)],
    station: StationArgument = None,
    frames: Annotated[int | None, typer.Option(min=1, help="End after so many frames.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so many seconds.")] = None,
    gige: GigeOption = None,
    gstreamer: GStreamerOption = None,
    video: VideoOption = None,
    which: ViewOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record frames into a folder that a source of kind "replay" plays: PNG files, and frames.jsonl with times and parts.

    Ends after --frames or --seconds, whichever comes first, at the end of the source, or on Ctrl-C.
    Exit code 1 when frames were lost on the way.

    Example: jetspect camera record station.toml --out shift --frames 100
    """
    if frames is None and seconds is None:
        raise InputError("say when to end: --frames N or --seconds S")
    with open_camera(station, gige, gstreamer, video, which) as source, Recorder(out) as recorder:
        lost = _record(source, recorder, frames, seconds)
    if recorder.kept == 0:
        last = f": {lost[-1].reason}" if lost else "; check the trigger, the light and the cable"
        raise SourceError(f"no frame came that could be recorded into {out}{last}")
    if as_json:
        print_json({"folder": str(out), "frames": recorder.kept, "lost": len(lost)})
    else:
        console.print(f'{out}: {recorder.kept} frames; play them with kind = "replay", path = "{out}"', markup=False)
        if lost:
            console.print(f"{len(lost)} frames were lost, the last one because {lost[-1].reason}", markup=False)
    if lost:
        raise typer.Exit(1)


def _record(source: Source, recorder: Recorder, frames: int | None, seconds: float | None) -> list[LostFrame]:
    lost: list[LostFrame] = []
    with stopping(source, seconds), progress() as bar:
        task = bar.add_task("recording", total=frames)
        for item in source:
            if isinstance(item, Frame):
                recorder.add(item)
                bar.advance(task)
                if recorder.kept == frames:
                    break
            else:
                lost.append(item)
    return lost
