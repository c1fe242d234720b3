"""Frames from any GStreamer pipeline: CSI cameras, V4L2, RTSP, files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import Frame, LostCause, LostFrame, utc_now
from jetspect.runtime.images import check_array
from jetspect.runtime.redaction import without_credentials
from jetspect.runtime.sources.gst_pipeline import Pipeline, PixelFormat, Sample, image_of
from jetspect.runtime.sources.live import LiveSettings, LiveSource

_LOOK_S = 0.1


class GStreamerSettings(LiveSettings):
    """``[source]`` with ``kind = "gstreamer"``."""

    kind: Literal["gstreamer"] = "gstreamer"
    pipeline: str = Field(description="As for gst-launch-1.0, ending in ! appsink")
    name: str | None = Field(
        None, min_length=1, description="What to call it in logs and results; None: its first part"
    )
    pixel_format: PixelFormat = Field(
        "BGR",
        description="What the appsink asks for; videoconvert converts. GRAY8 of a video stream is its luma, 16 to 235",
    )
    frames: int = Field(2, ge=1, le=64, description="Frames that may wait in the appsink")
    drop: bool = Field(
        True,
        description="A full appsink lets its oldest frame go, an UNKNOWN result; false: the pipeline waits (files)",
    )
    timeout_s: float = Field(
        10.0, ge=0, le=3600, description="Without a frame for so long the stream counts as lost; 0: never (triggered)"
    )
    at_end: Literal["reconnect", "stop"] = Field("reconnect", description="When the stream says that it ends")

    @field_validator("pipeline")
    @classmethod
    def _some(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; write it as for gst-launch-1.0, ending in ! appsink")
        return value


class GStreamerSource(LiveSource):
    """Delivers what reaches the appsink, and starts the pipeline anew after an error, an end or silence.

    Raises
    ------
    MissingDependencyError
        PyGObject or GStreamer is not installed.
    InputError
        GStreamer's parser refuses the pipeline, or it does not end in an appsink. A device that is not there is
        waited for instead.
    """

    def __init__(self, settings: GStreamerSettings) -> None:
        super().__init__(settings.name or _first_part(settings.pipeline), settings)
        self._settings = settings
        self._make().close()  # shows what is wrong with the text before the first frame

    def _make(self) -> Pipeline:
        settings = self._settings
        return Pipeline(settings.pipeline, settings.pixel_format, frames=settings.frames, drop=settings.drop)

    def _session(self) -> Iterator[Frame | LostFrame]:
        pipeline = self._make()
        try:
            pipeline.start()
            yield from self._taken(pipeline)
        except SourceError as error:
            raise SourceError(f"{self._name}: {error}") from error
        finally:
            self._count(connected=False)
            pipeline.close()

    def _taken(self, pipeline: Pipeline) -> Iterator[Frame | LostFrame]:
        last, up, ended = time.monotonic(), False, False
        while not self._stop.is_set():
            taken = pipeline.samples.get(0 if ended else _LOOK_S)
            if taken is not None:
                if not up:
                    self._up()
                    up = True
                yield from self._items(taken)
                last = time.monotonic()
            elif ended:
                if self._settings.at_end == "stop":
                    self._end()
                    return
                raise SourceError("the stream ended")
            # All samples before the end are in the queue when the bus tells it.
            ended = ended or pipeline.check()
            if 0 < self._settings.timeout_s < time.monotonic() - last:
                raise SourceError(f"no frame came for {self._settings.timeout_s:g} s")

    def _items(self, taken: Sample) -> Iterator[Frame | LostFrame]:
        self._count(missed=self._counters.missed + taken.dropped_before)
        now = utc_now()
        at, first = now - timedelta(seconds=taken.age_s), now - timedelta(seconds=taken.dropped_age_s)
        for number in range(taken.dropped_before):
            then = first + (at - first) * number / taken.dropped_before
            yield self._lost("dropped in the appsink: frames come faster than they are taken", then, LostCause.MISSED)
        try:
            image = check_array(image_of(taken.sample), "the image")
        except (InputError, SourceError) as error:
            yield self._lost(str(error), at)
            return
        yield self._frame(image, at)


def _first_part(pipeline: str) -> str:
    return without_credentials(pipeline).split(" ! ")[0].strip()[:120]
