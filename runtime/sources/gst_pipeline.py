"""One GStreamer pipeline that ends in an appsink: built from its text, watched, its images taken from a bounded queue."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError, MissingDependencyError, SourceError
from jetspect.runtime.redaction import without_credentials

U8 = npt.NDArray[np.uint8]
PixelFormat = Literal["BGR", "GRAY8"]
_INSTALL = (
    "sudo apt-get install gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3-gi (in a "
    "virtual environment without --system-site-packages: libgirepository1.0-dev libcairo2-dev pkg-config gcc, then "
    "pip install 'jetspect[gstreamer]')"
)
_NUMBERED = re.compile(r"/(\w+):([a-z][a-z0-9_-]*?)-?\d+(?![\w-])")


@dataclass(frozen=True, eq=False)
class Sample:
    """One image as it came, and how many before it gave way to newer ones.

    Attributes
    ----------
    age_s, dropped_age_s
        How long ago it was captured, and the first of those that gave way.
    """

    sample: Any
    age_s: float
    dropped_before: int
    dropped_age_s: float


def require_gst() -> Any:
    """Return the module ``gi.repository.Gst``, initialised."""
    try:
        import gi
    except ImportError as error:
        raise MissingDependencyError("PyGObject (gi)", "GStreamer pipelines", _INSTALL) from error
    try:
        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        gi.require_version("GstVideo", "1.0")
        # GstApp makes the appsink's methods known.
        from gi.repository import Gst, GstApp  # noqa: F401
    except (ImportError, ValueError) as error:
        raise MissingDependencyError("GStreamer 1.0", "GStreamer pipelines", _INSTALL) from error
    if not Gst.is_initialized():
        Gst.init(None)
    return Gst


class Samples:
    """Holds at most ``size`` samples between GStreamer's thread and ours."""

    def __init__(self, size: int, *, drop: bool) -> None:
        self._size = size
        self._drop = drop
        self._waiting: deque[tuple[Any, float]] = deque()
        self._dropped, self._dropped_at = 0, 0.0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, sample: Any, age_s: float) -> None:
        """Add a sample; a full queue lets its oldest one go, or waits. It goes on to age here."""
        captured = time.monotonic() - age_s
        with self._changed:
            while not self._drop and len(self._waiting) >= self._size and not self._closed:
                self._changed.wait()
            if len(self._waiting) >= self._size:
                gone = self._waiting.popleft()
                self._dropped_at = self._dropped_at if self._dropped else gone[1]
                self._dropped += 1
            self._waiting.append((sample, captured))
            self._changed.notify_all()

    def get(self, timeout_s: float) -> Sample | None:
        with self._changed:
            if not self._waiting:
                self._changed.wait(timeout_s)
            if not self._waiting:
                return None
            (sample, captured), now = self._waiting.popleft(), time.monotonic()
            dropped, self._dropped = self._dropped, 0
            self._changed.notify_all()
            return Sample(sample, now - captured, dropped, now - (self._dropped_at if dropped else captured))

    def close(self) -> None:
        """Make nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Pipeline:
    """A pipeline that does not run yet; :meth:`start` it, take samples, look for trouble, :meth:`close` it.

    Raises
    ------
    InputError
        GStreamer cannot parse the text, or it has not exactly one appsink.
    """

    def __init__(self, text: str, pixel_format: PixelFormat, *, frames: int, drop: bool) -> None:
        self._gst = gst = require_gst()
        from gi.repository import GLib

        try:
            self._pipeline = gst.parse_launch(text)
        except GLib.Error as error:
            hint = "install the plugin that has it" if "no element" in error.message else "try it with gst-launch-1.0"
            raise InputError(
                f"GStreamer cannot make a pipeline of {without_credentials(text)!r}: {without_credentials(error.message)}; "
                f"{hint}"
            ) from error
        inside = list(self._pipeline.children) if isinstance(self._pipeline, gst.Bin) else []
        sinks = [e for e in inside if e.get_factory() is not None and e.get_factory().get_name() == "appsink"]
        if len(sinks) != 1:
            raise InputError(
                f"the pipeline {without_credentials(text)!r} has {len(sinks)} appsinks; it must end in one: ... ! appsink"
            )
        (sink,) = sinks
        self._format = pixel_format
        self.samples = Samples(frames, drop=drop)
        sink.set_property("caps", gst.Caps.from_string(f"video/x-raw,format={pixel_format}"))
        sink.set_property("emit-signals", True)
        sink.connect("new-sample", _taker(gst, self.samples))

    def start(self) -> None:
        if self._pipeline.set_state(self._gst.State.PLAYING) == self._gst.StateChangeReturn.FAILURE:
            self.check()
            raise SourceError("the pipeline does not start and does not say why; try it with gst-launch-1.0")

    def check(self) -> bool:
        """Return whether the stream is at its end. Raises SourceError with what GStreamer reports."""
        kinds = self._gst.MessageType
        message = self._pipeline.get_bus().pop_filtered(kinds.ERROR | kinds.EOS)
        if message is None:
            return False
        if message.type == kinds.EOS:
            return True
        error, details = message.parse_error()
        source = _lasting_name(message.src) if message.src is not None else "pipeline"
        detail = (details or "").strip().splitlines()[-1:]
        hint = ""
        if "not-negotiated" in (details or ""):
            hint = (
                f"; nothing before the appsink can give {self._format}: put videoconvert before it (nvvidconv for NVMM)"
            )
        told = _NUMBERED.sub(_without_number, " ".join([error.message, *detail]))
        raise SourceError(without_credentials(f"{source}: {told}{hint}"))

    def close(self) -> None:
        self.samples.close()  # first: GStreamer's thread may wait there
        self._pipeline.set_state(self._gst.State.NULL)


def _taker(gst: Any, samples: Samples) -> Any:
    """Return what GStreamer's thread calls for every sample. It must hold neither pipeline nor sink, which hold it."""

    def take(sink: Any) -> Any:
        sample = sink.try_pull_sample(0)
        if sample is not None:
            samples.put(sample, _age_ns(gst, sink, sample) / 1e9)
        return gst.FlowReturn.OK

    return take


def _age_ns(gst: Any, sink: Any, sample: Any) -> int:
    """Nanoseconds since capture by the pipeline's clock, however many; 0 where the stream is not live or does not say."""
    pts, clock = sample.get_buffer().pts, sink.get_clock()
    if clock is None or pts == gst.CLOCK_TIME_NONE or not _is_live(gst, sink):
        return 0
    captured = sample.get_segment().to_running_time(gst.Format.TIME, pts)
    return max(0, int(clock.get_time() - sink.get_base_time() - captured))


def _is_live(gst: Any, sink: Any) -> bool:
    """Whether the frames come from something that captures them at the pipeline's clock, not from files."""
    query = gst.Query.new_latency()
    # Of the elements before it: the sink itself answers whether it waits for the time of a frame.
    return bool(sink.get_static_pad("sink").peer_query(query) and query.parse_latency()[0])


def _lasting_name(element: Any) -> str:
    """Return an element's name as it is in every pipeline made of the same text: GStreamer numbers those without one."""
    kind, name = element.__gtype__.name, element.get_name()
    return _NUMBERED.sub(_without_number, f"/{kind}:{name}").removeprefix(f"/{kind}:")


def _without_number(found: re.Match[str]) -> str:
    kind, name = found[1], found[2]
    return f"/{kind}:{name}" if kind.lower().endswith(name) else found[0]


def image_of(sample: Any) -> U8:
    """Copy the image out of a sample: H x W x 3 for BGR, H x W for GRAY8. Raises SourceError where bytes are missing."""
    from gi.repository import GstVideo

    shape = sample.get_caps().get_structure(0)
    width, height = shape.get_value("width"), shape.get_value("height")
    channels = 3 if shape.get_value("format") == "BGR" else 1
    buffer = sample.get_buffer()
    # Rows are padded to four bytes, unless the element says how it laid them out.
    start, stride = 0, (width * channels + 3) // 4 * 4
    meta = GstVideo.buffer_get_video_meta(buffer)
    if meta is not None:
        start, stride = meta.offset[0], meta.stride[0]
    data = buffer.extract_dup(0, buffer.get_size())
    needed = start + stride * (height - 1) + width * channels
    if len(data) < needed:
        raise SourceError(f"{len(data)} bytes came, {width} x {height} px need {needed}")
    rows = np.lib.stride_tricks.as_strided(
        np.frombuffer(data, np.uint8, offset=start), (height, width * channels), (stride, 1), writeable=False
    )
    return np.ascontiguousarray(rows.reshape(height, width, 3) if channels == 3 else rows)
