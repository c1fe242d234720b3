"""``jetspect camera focus``: how sharp and how well exposed a camera's picture is, live."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from jetspect.cli.camera.source import (
    GigeOption,
    GStreamerOption,
    StationArgument,
    VideoOption,
    ViewOption,
    open_camera,
    stopping,
)
from jetspect.cli.output import JsonOption, console
from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import U8, Frame, LostFrame
from jetspect.runtime.optics.focus import Look, look_at
from jetspect.runtime.sources.recorder import write_png

_BAR = 60
_BINS = 64
_STEPS = " ▁▂▃▄▅▆▇█"
_RATE_OF = 20


def focus(
    station: StationArgument = None,
    roi: Annotated[str | None, typer.Option(help="Part of the frame, LEFT,TOP,WIDTH,HEIGHT in px.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="End after so many frames.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="End after so many seconds.")] = None,
    save_best: Annotated[Path | None, typer.Option(help="At the end, write the sharpest frame there (PNG).")] = None,
    gige: GigeOption = None,
    gstreamer: GStreamerOption = None,
    video: VideoOption = None,
    which: ViewOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show focus, exposure and frame rate while the lens is turned: turn until the bar stays at its best. Ends on Ctrl-C.

    Focus is the mean squared slope of the grey levels, divided by their squared mean so that a longer exposure does not look
    sharper, times 1000. It is comparable for one scene only. Where stdout is no terminal, and with --json, every frame is one
    line of JSON.

    Example: jetspect camera focus --gige 192.168.1.20 --roi 2000,1500,800,600
    """
    if save_best is not None and save_best.suffix.lower() != ".png":
        raise InputError(f"--save-best {save_best} must end in .png, which keeps every pixel as it is")
    region = None if roi is None else _region(roi)
    view: _Lines | _Panel = _Lines() if as_json or not console.is_terminal else _Panel()
    best: Frame | None = None
    seen, most = 0, 0.0
    came: deque[float] = deque(maxlen=_RATE_OF)
    with open_camera(station, gige, gstreamer, video, which) as source, stopping(source, seconds), view:
        for item in source:
            if isinstance(item, LostFrame):
                view.lost(item)
                continue
            seen += 1
            came.append(time.monotonic())
            look = look_at(item.image, _inside(region, item.image))
            if best is None or look.focus > most:
                best, most = item, look.focus
            rate = (len(came) - 1) / (came[-1] - came[0]) if len(came) > 1 and came[-1] > came[0] else None
            view.show(item, look, most, rate)
            if seen == frames:
                break
    if best is None:
        raise SourceError("no frame came; check the trigger, the light and the cable")
    if save_best is not None:
        write_png(best.image, save_best)


class _Lines:
    """One line of JSON for each frame."""

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def lost(self, item: LostFrame) -> None:
        self._write({"frame_id": item.frame_id, "lost": item.reason})

    def show(self, frame: Frame, look: Look, best: float, rate_hz: float | None) -> None:
        self._write(
            {
                "frame_id": frame.frame_id,
                "captured_at": frame.captured_at.isoformat(),
                "focus": round(look.focus, 4),
                "best": round(best, 4),
                "mean": round(look.mean, 2),
                "black": round(look.black, 4),
                "saturated": round(look.saturated, 4),
                "rate_hz": None if rate_hz is None else round(rate_hz, 2),
            }
        )

    def _write(self, line: dict[str, object]) -> None:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


class _Panel:
    """The last frame in the terminal, updated in place."""

    def __init__(self) -> None:
        self._live = Live(console=console, refresh_per_second=10)
        self._lost = ""

    def __enter__(self) -> None:
        self._live.start()

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def lost(self, item: LostFrame) -> None:
        self._lost = item.reason

    def show(self, frame: Frame, look: Look, best: float, rate_hz: float | None) -> None:
        share = look.focus / best if best else 0.0
        style = "green" if share > 0.97 else "yellow" if share > 0.8 else "red"
        rate = "" if rate_hz is None else f"   {rate_hz:.1f} frames/s"
        rows = [
            Text(f"focus {look.focus:10.3f}   best {best:.3f}   {share:4.0%}{rate}"),
            Text("█" * round(_BAR * share), style=style) + Text("░" * (_BAR - round(_BAR * share)), style="dim"),
            Text(f"mean {look.mean:5.1f}   black {look.black:6.2%}   saturated {look.saturated:6.2%}"),
            Text(bars(look.histogram), style="cyan"),
            Text(f"{'0':<{_BINS - 3}}255", style="dim"),
        ]
        if self._lost:
            rows.append(Text(f"lost: {self._lost}", style="yellow"))
        self._live.update(Group(*rows))


def bars(histogram: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    """Draw 256 counts as 64 characters; the square root lets few pixels be seen beside many."""
    bins = np.sqrt(histogram.reshape(_BINS, -1).sum(axis=1))
    heights = np.ceil(bins / max(1.0, float(bins.max())) * (len(_STEPS) - 1)).astype(int)
    return "".join(_STEPS[height] for height in heights)


def _region(text: str) -> tuple[int, int, int, int]:
    try:
        left, top, width, height = (int(part) for part in text.split(","))
    except ValueError:
        left = top = width = height = -1
    if min(left, top) < 0 or min(width, height) < 1:
        raise InputError(f"--roi is LEFT,TOP,WIDTH,HEIGHT in px, like 2000,1500,800,600; got {text!r}")
    return left, top, left + width, top + height


def _inside(region: tuple[int, int, int, int] | None, image: U8) -> tuple[int, int, int, int] | None:
    height, width = image.shape[:2]
    if region is not None and (region[2] > width or region[3] > height):
        raise InputError(
            f"--roi ends at {region[2]} x {region[3]} px, the frame at {width} x {height}: make it smaller"
        )
    return region
