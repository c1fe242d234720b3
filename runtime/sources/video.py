"""Frames through OpenCV: video files, V4L2 devices and RTSP streams. The simple fallback of the camera sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from pydantic import Field

from jetspect.errors import ImageError, SourceError
from jetspect.runtime.frames import Frame, LostFrame, utc_now
from jetspect.runtime.images import check_array
from jetspect.runtime.redaction import public_address
from jetspect.runtime.sources.live import LiveSettings, LiveSource

_TIMEOUT_MS = 5000


class VideoSettings(LiveSettings):
    """``[source]`` with ``kind = "video"``."""

    kind: Literal["video"] = "video"
    device: str = Field(description='Video file, "/dev/video0", a number ("0") or an rtsp:// or http:// address')
    size_wh: tuple[int, int] | None = Field(None, description="Width and height asked of a camera; None: its default")
    every: int = Field(1, ge=1, description="Take every n-th frame")


class VideoSource(LiveSource):
    """Delivers frames of a file until its end, and of a live stream for ever, opening it again when it breaks.

    Raises
    ------
    SourceError
        The file is missing or no video. A live stream that cannot be opened is tried again instead.
    """

    def __init__(self, settings: VideoSettings) -> None:
        device = settings.device
        super().__init__(public_address(device), settings)
        self._settings = settings
        self._live = device.isdigit() or device.startswith("/dev/") or "://" in device
        if not self._live:
            if not Path(device).is_file():
                shown = device.rpartition("@")[2]  # an address without its rtsp:// may hold a login
                raise SourceError(f"video {shown} does not exist; give a file, /dev/videoN, a number or rtsp://...")
            capture = self._open()
            if capture is None:
                raise SourceError(f"video {device} cannot be opened: OpenCV finds no video stream in it")
            capture.release()

    def _session(self) -> Iterator[Frame | LostFrame]:
        capture = self._open()
        if capture is None:
            raise SourceError(f"{self._name} cannot be opened")
        self._up()
        try:
            yield from self._frames(capture)
        finally:
            capture.release()
        if not self._live:
            self._end()

    def _frames(self, capture: cv2.VideoCapture) -> Iterator[Frame | LostFrame]:
        while not self._stop.is_set():
            if not capture.grab():
                return
            at = utc_now()
            if self._numbered % self._settings.every:
                self._next_id()  # those that are passed over count too
                continue
            ok, image = capture.retrieve()
            if not ok:
                yield self._lost("it cannot be decoded", at)
                continue
            try:
                checked = check_array(np.asarray(image), "the image")
            except ImageError as error:
                yield self._lost(str(error), at)
                continue
            yield self._frame(checked, at)

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
