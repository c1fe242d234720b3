"""Frames from a GigE Vision camera."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Literal

from pydantic import Field, model_validator

from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import Frame, LostCause, LostFrame, utc_now
from jetspect.runtime.images import check_array
from jetspect.runtime.sources.aravis import AravisCamera, Grab
from jetspect.runtime.sources.genicam import Features
from jetspect.runtime.sources.gige_setup import CameraSettings, exposure_us, set_up
from jetspect.runtime.sources.live import LiveSettings, LiveSource
from jetspect.runtime.sources.pixels import to_bgr_or_grey

_LOOK_S = 0.1
_CLOCKS_APART_NS = 1_000_000_000
_LAST_BLOCK = 0xFFFF
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class GigeSettings(LiveSettings, CameraSettings):
    """``[source]`` with ``kind = "gige"``: a GigE Vision camera through Aravis."""

    kind: Literal["gige"] = "gige"
    serial: str | None = Field(None, min_length=1, description="Serial number of the camera; or give ip")
    ip: str | None = Field(None, min_length=1, description="Its IP address; found faster than a serial number")
    buffers: int = Field(5, ge=2, le=100, description="Frames that may arrive while one is taken; each in memory")
    timeout_s: float = Field(
        5.0, gt=0, le=3600, description="Free running: without a frame for so long the camera counts as lost"
    )
    at_start: Literal["wait", "fail"] = Field(
        "wait", description="A camera that is not there when the station starts: wait for it, or end with an error"
    )
    resend: bool = Field(True, description="Ask the camera again for packets that were lost on the way")
    clock: Literal["host", "camera"] = Field(
        "host",
        description="Time of a frame: when its first packet came, or the camera's own, which must follow UTC (PTP)",
    )

    @model_validator(mode="after")
    def _one_name(self) -> GigeSettings:
        if (self.serial is None) == (self.ip is None):
            raise ValueError('give one of serial and ip: serial = "..." or ip = "192.168.1.20"')
        return self

    @property
    def where(self) -> str:
        return self.ip or self.serial or ""


class GigeSource(LiveSource):
    """Delivers what one GigE Vision camera sends, and connects again when it goes away.

    A frame of which packets are missing, that no buffer was free for, or that has another shape than the first one
    becomes a LostFrame that says so. The camera's settings are written at every connection.

    Raises
    ------
    MissingDependencyError
        PyGObject or Aravis is not installed.
    SourceError
        With ``at_start = "fail"``: the camera does not answer or is in use. Otherwise it is waited for.
    InputError
        The camera does not take a setting.
    """

    def __init__(self, settings: GigeSettings) -> None:
        super().__init__(f"camera {settings.where}", settings)
        self._settings = settings
        self._block: int | None = None
        self._packets_before = (0, 0)
        self._taking = threading.Lock()
        self._capturing: AravisCamera | None = None
        self._last_at: datetime | None = None
        self._pixel_format = ""
        self._ready: AravisCamera | None = None
        # Opened at once, so that whatever is wrong shows before the first frame.
        try:
            self._ready = self._open()
        except SourceError as error:
            if settings.at_start == "fail":
                raise
            self._count(fault=str(error))

    def close(self) -> None:
        super().close()
        camera = self._take_ready()
        if camera is not None:
            camera.close()

    def _take_ready(self) -> AravisCamera | None:
        with self._taking:
            camera, self._ready = self._ready, None
        return camera

    def fire(self) -> None:
        """Trigger the camera by software.

        Raises
        ------
        SourceError
            It is not there, or does not answer.
        """
        camera = self._capturing
        if camera is None:
            raise SourceError(f"{self._name} is not there; it is opened again as soon as it answers")
        camera.fire()

    def _open(self) -> AravisCamera:
        camera = AravisCamera(self._settings.where)
        try:
            features = Features(camera)
            self._pixel_format = set_up(camera, features, self._settings)
            self._exposure_us = exposure_us(features)
        except BaseException:
            camera.close()
            raise
        return camera

    def _session(self) -> Iterator[Frame | LostFrame]:
        camera = self._take_ready() or self._open()
        self._block = None
        try:
            camera.start(self._settings.buffers, resend=self._settings.resend)
            self._capturing = camera  # first: who sees that it is there may trigger it
            self._up()
            yield from self._grabs(camera)
        finally:
            self._capturing = None
            self._packets_before = self._count_packets(camera)
            self._count(connected=False)  # before closing, which may wait for a camera that no longer answers
            camera.close()

    def _grabs(self, camera: AravisCamera) -> Iterator[Frame | LostFrame]:
        waited_s = 0.0
        while not self._stop.is_set():
            if camera.lost:
                raise SourceError(f"{self._name} no longer answers, or another program took it over")
            grab = camera.grab(_LOOK_S)
            if grab is None:
                waited_s += _LOOK_S
                if waited_s >= self._settings.timeout_s and self._settings.trigger is None:
                    raise SourceError(
                        f"{self._name} sent no frame for {self._settings.timeout_s:g} s; where that is how it works, raise "
                        "timeout_s or name its trigger; with a large packet_size the network must take jumbo frames"
                    )
                continue
            waited_s = 0.0
            self._count_packets(camera)
            # Where the first packet is the lost one, no time came with it.
            at = _EPOCH + timedelta(microseconds=grab.host_ns // 1000) if grab.host_ns else utc_now()
            yield from self._never_came(grab.block, at)
            yield self._item(grab, at)

    def _never_came(self, block: int, at: datetime) -> Iterator[LostFrame]:
        """Deliver what the camera counted between the last frame and this one, dated evenly between them."""
        missed = 0 if self._block is None else blocks_between(self._block, block)
        before, self._last_at = self._last_at or at, at
        self._block = block
        self._count(missed=self._counters.missed + missed)
        for number in range(1, missed + 1):
            then = before + (at - before) * number / (missed + 1)
            told = "it never came: no buffer was free, or all of its packets were lost"
            yield self._lost(told, then, LostCause.MISSED)

    def _item(self, grab: Grab, at: datetime) -> Frame | LostFrame:
        if grab.fault is not None or grab.size_wh is None:
            return self._lost(grab.fault or "it has no size", at, LostCause.INCOMPLETE)
        if self._settings.clock == "camera":
            if abs(grab.camera_ns - grab.host_ns) > _CLOCKS_APART_NS:
                apart_s = (grab.camera_ns - grab.host_ns) / 1e9
                return self._lost(
                    f"its clock is {apart_s:.0f} s from this machine's: set both by PTP, or set clock to host",
                    at,
                    LostCause.UNEXPECTED,
                )
            at = _EPOCH + timedelta(microseconds=grab.camera_ns // 1000)
        try:
            image = check_array(to_bgr_or_grey(grab.data, grab.size_wh, self._pixel_format), "the image")
        except InputError as error:
            return self._lost(str(error), at)
        return self._frame(image, at)

    def _count_packets(self, camera: AravisCamera) -> tuple[int, int]:
        missing, resent = (a + b for a, b in zip(self._packets_before, camera.packets(), strict=True))
        self._count(packets_missing=missing, packets_resent=resent)
        return missing, resent


def blocks_between(before: int, now: int) -> int:
    """Return how many block numbers lie between two; they wrap from 65535 to 1, and start anew with the camera."""
    if before > _LAST_BLOCK // 2 and before <= _LAST_BLOCK and now < before - _LAST_BLOCK // 2:
        now += _LAST_BLOCK
    missed = now - before - 1
    return missed if 0 <= missed < _LAST_BLOCK else 0
