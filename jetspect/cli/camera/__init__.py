"""``jetspect camera``: find cameras, set them up, record them, and calibrate what they see."""

from __future__ import annotations

import typer

from jetspect.cli.lazy import Lazy, LazyGroup


class _Camera(LazyGroup):
    table = (
        Lazy(
            "list",
            "jetspect.cli.camera.find:list_cameras",
            "List the GigE Vision cameras that answer on the networks of this machine, for which it waits a "
            "second, and the video devices that the kernel knows (USB, CSI).",
        ),
        Lazy("grab", "jetspect.cli.camera.record:grab", "Take one frame and save it as a PNG with exactly its pixels."),
        Lazy(
            "focus",
            "jetspect.cli.camera.focus:focus",
            "Show focus, exposure and frame rate while the lens is turned: turn until the bar stays at its best. "
            "Ends on Ctrl-C.",
        ),
        Lazy(
            "record",
            "jetspect.cli.camera.record:record",
            'Record frames into a folder that a source of kind "replay" plays: PNG files, and frames.jsonl with '
            "times and parts.",
        ),
        Lazy(
            "board",
            "jetspect.cli.camera.board:board",
            "Write a calibration board at true scale. Print it at 100 %, glue it on something flat, and measure it.",
        ),
        Lazy(
            "calibrate",
            "jetspect.cli.camera.calibrate:calibrate",
            "Calibrate a view, so that defects are measured in mm: set [optics] view to the file that this writes.",
        ),
    )


app = typer.Typer(cls=_Camera, help="Cameras: find, focus, record and calibrate them.", no_args_is_help=True)
