"""Frames through OpenCV: video files, V4L2 devices and RTSP streams. The simple fallback of the camera sources."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from jetspect.errors import ImageError, SourceError
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.images import check_array
from jetspect.runtime.settings import Settings

log = logging.getLogger(__name__)
_TIMEOUT_MS = 5000


class VideoSettings(Settings):
    """``[source]`` with ``kind = "video"``."""

    kind: Literal["video"] = "video"
    device: str = Field(description='Video file, "/dev/video0", a number ("0") or an rtsp:// or http:// address')
    size_wh: tuple[int, int] | None = Field(None, description="Width and height asked of a camera; None: its default")
    every: int = Field(1, ge=1, description="Take every n-th frame")
    retry_s: float = Field(1.0, gt=0, le=300, description="First pause before a live stream is opened again; doubles")
    retry_max_s: float = Field(30.0, gt=0, le=3600, description="Longest such pause")


class VideoSource:
    """Delivers frames of a file until its end, and of a live stream for ever, opening it again when it breaks.

    Raises
    ------
    SourceError
        The file is missing or no video. A live stream that cannot be opened is tried again instead.
    """

    def __init__(self, settings: VideoSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._count = 0
        device = settings.device
        self._live = device.isdigit() or device.startswith("/dev/") or "://" in device
        self._origin = device.split("@")[-1] if "://" in device else device  # no credentials in results and logs
        if not self._live:
            if not Path(device).is_file():
                raise SourceError(f"video {device} does not exist; give a file, /dev/videoN, a number or an address")
            capture = self._open()
            if capture is None:
                raise SourceError(f"video {device} cannot be opened: OpenCV finds no video stream in it")
            capture.release()

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        pause = self._settings.retry_s
        while not self._stop.is_set():
            before = self._count
            capture = self._open()
            if capture is not None:
                try:
                    yield from self._frames(capture)
                finally:
                    capture.release()
            if not self._live or self._stop.is_set():
                return
            # A stream that delivered was healthy: start over with the short pause.
            pause = self._settings.retry_s if self._count > before else min(2 * pause, self._settings.retry_max_s)
            log.warning("%s delivers no frames; opening it again in %.0f s", self._origin, pause)
            self._stop.wait(pause)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.stop()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _frames(self, capture: cv2.VideoCapture) -> Iterator[Frame | LostFrame]:
        while not self._stop.is_set():
            if not capture.grab():
                return
            self._count += 1
            if (self._count - 1) % self._settings.every:
                continue
            frame_id = f"{self._count:08d}"
            ok, image = capture.retrieve()
            if not ok:
                yield LostFrame(frame_id, f"frame {frame_id} of {self._origin} cannot be decoded", origin=self._origin)
                continue
            try:
                yield Frame(check_array(np.asarray(image), f"frame {frame_id}"), frame_id, origin=self._origin)
            except ImageError as error:
                yield LostFrame(frame_id, str(error), origin=self._origin)

    def _open(self) -> cv2.VideoCapture | None:
        device = self._settings.device
        if device.isdigit() or device.startswith("/dev/"):
            capture = cv2.VideoCapture(int(device) if device.isdigit() else device, cv2.CAP_V4L2)
        else:
            limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
            capture = cv2.VideoCapture(device, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            return None
        if self._settings.size_wh is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self._settings.size_wh[0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self._settings.size_wh[1])
        return capture
