"""Which camera a command looks through, and how it stops looking."""

from __future__ import annotations

import ipaddress
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from jetspect.errors import InputError, SourceError
from jetspect.runtime.config import load_station
from jetspect.runtime.frames import Frame, LostFrame, Source
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.sources import SourceSettings, open_source
from jetspect.runtime.sources.gige import GigeSettings
from jetspect.runtime.sources.gstreamer import GStreamerSettings
from jetspect.runtime.sources.video import VideoSettings

StationArgument = Annotated[
    Path | None, typer.Argument(help="Station file (TOML), whose [source] is looked through.", show_default=False)
]
GigeOption = Annotated[str | None, typer.Option(help="GigE camera instead: IP address or serial number.")]
GStreamerOption = Annotated[str | None, typer.Option(help="GStreamer pipeline instead, ending in ! appsink.")]
VideoOption = Annotated[str | None, typer.Option(help="/dev/videoN, a number, a file or an address instead.")]
ViewOption = Annotated[str | None, typer.Option("--view", help="Which [[view]] of a station with several cameras.")]


def open_camera(
    station: Path | None, gige: str | None, gstreamer: str | None, video: str | None, view: str | None = None
) -> Source:
    """Open the one camera that was named. Raises InputError for none or several, SourceError where it cannot be opened."""
    if sum(given is not None for given in (station, gige, gstreamer, video)) != 1:
        raise InputError(
            "name one camera: a station file, --gige, --gstreamer or --video; jetspect camera list shows some"
        )
    if view is not None and station is None:
        raise InputError("--view is for a station file with several cameras")
    settings = _settings(station, gige, gstreamer, video, view)
    if isinstance(settings, GigeSettings):
        # Nobody here sends software triggers, and somebody who looks for a camera wants to know that it is away.
        software = settings.trigger == "Software"
        settings = settings.model_copy(update={"at_start": "fail", **({"trigger": None} if software else {})})
    return open_source(settings)


def _settings(
    station: Path | None, gige: str | None, gstreamer: str | None, video: str | None, view: str | None
) -> SourceSettings:
    if station is not None:
        return _of_station(station, view)
    if gige is not None:
        return parse_settings({"ip" if _is_address(gige) else "serial": gige}, GigeSettings, where="--gige")
    if gstreamer is not None:
        given = {"pipeline": gstreamer, "at_end": "stop"}
        return parse_settings(given, GStreamerSettings, where="--gstreamer")
    return parse_settings({"device": video}, VideoSettings, where="--video")


def _of_station(station: Path, view: str | None) -> SourceSettings:
    sources = load_station(station).sources
    names = ", ".join(sources)
    if view is None and len(sources) > 1:
        raise InputError(f"{station} has several cameras; name one with --view: {names}")
    if view is not None and view not in sources:
        raise InputError(f"{station} has no view {view!r}" + (f", it has {names}" if names else "; leave --view out"))
    return sources[view] if view is not None else next(iter(sources.values()))


@contextmanager
def stopping(source: Source, seconds: float | None = None) -> Iterator[threading.Event]:
    """End a source on Ctrl-C, on SIGTERM and after some seconds; the event says that it was asked to."""
    asked = threading.Event()

    def stop(*_: object) -> None:
        asked.set()
        source.stop()

    timer = None if seconds is None else threading.Timer(seconds, stop)
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if timer is not None:
            timer.cancel()


def first_frame(source: Source, *, skip: int, timeout_s: float) -> Frame:
    """Return the first usable frame after some that are skipped. Raises SourceError where none comes in time."""
    lost, passed = "", 0
    with stopping(source, timeout_s):
        for item in source:
            if isinstance(item, LostFrame):
                lost = f"; the last one that came cannot be used: {item.reason}"
            elif passed == skip:
                return item
            else:
                passed += 1
    came = f"{passed} of the {skip} to be skipped came" if skip else "none came"
    raise SourceError(
        f"no frame to take within {timeout_s:g} s, {came}{lost}; check the trigger, the light and the cable"
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
