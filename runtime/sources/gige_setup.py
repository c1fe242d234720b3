"""What a station file says of a GenICam camera, and how it is written into the camera."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from jetspect.errors import InputError, SourceError
from jetspect.runtime.settings import Settings
from jetspect.runtime.sources.aravis import AravisCamera
from jetspect.runtime.sources.genicam import Features, Value
from jetspect.runtime.sources.pixels import PIXEL_FORMATS

_EXPOSURE = ("ExposureTime", "ExposureTimeAbs", "ExposureTimeRaw")
_GAIN = ("Gain", "GainRaw", "GainAbs")
SOFTWARE_TRIGGER = "TriggerSoftware"
_RATE = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")


class CameraSettings(Settings):
    """What is left out stays as the camera has it."""

    pixel_format: str | None = Field(None, description="For example Mono8, BayerRG8; deeper ones keep their top 8 bits")
    roi: tuple[int, int, int, int] | None = Field(None, description="Left, top, width, height on the sensor, px")
    exposure_us: float | None = Field(None, gt=0, description="Exposure time, microseconds")
    gain: float | None = Field(None, description="In the camera's unit, often dB")
    frame_rate_hz: float | None = Field(None, gt=0, description="Free running: frames per second")
    trigger: str | None = Field(
        None,
        min_length=1,
        description='Input that starts a frame, "Line1"; "Software": the station does ([trigger]); None: free running',
    )
    trigger_edge: Literal["RisingEdge", "FallingEdge", "AnyEdge", "LevelHigh", "LevelLow"] | None = Field(None)
    packet_size: int | None = Field(
        None, ge=220, le=16384, description="Bytes; up to the network's MTU, 8192 with jumbo frames. None: negotiated"
    )
    features: dict[str, Value] = Field(
        default_factory=dict, description="Any other GenICam feature by name, set first, in this order"
    )

    @field_validator("pixel_format")
    @classmethod
    def _convertible(cls, value: str | None) -> str | None:
        if value is not None and value not in PIXEL_FORMATS:
            raise ValueError(f"is none of {', '.join(PIXEL_FORMATS)}")
        return value

    @field_validator("roi")
    @classmethod
    def _inside(cls, value: tuple[int, int, int, int] | None) -> tuple[int, int, int, int] | None:
        if value is not None and (min(value[:2]) < 0 or min(value[2:]) < 1):
            raise ValueError("is left, top, width, height; left and top from 0, width and height from 1")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> CameraSettings:
        if self.trigger == "Software" and self.trigger_edge is not None:
            raise ValueError('trigger_edge is for an input; trigger = "Software" has none: leave trigger_edge out')
        if self.trigger is None and self.trigger_edge is not None:
            raise ValueError("trigger_edge is for a trigger: name its input with trigger, or leave trigger_edge out")
        if self.trigger is not None and self.frame_rate_hz is not None:
            raise ValueError("frame_rate_hz is for free running; with a trigger leave it out")
        return self


def set_up(camera: AravisCamera, features: Features, settings: CameraSettings) -> str:
    """Write the settings into a camera that is not capturing.

    Returns
    -------
    Its pixel format.

    Raises
    ------
    InputError
        The camera has no such feature or does not take a value.
    SourceError
        It stopped to answer.
    """
    from gi.repository import GLib

    try:
        # First the maker's: they may load a set of settings or switch an automatic off that holds a value below.
        for name, value in settings.features.items():
            features.set(name, value)
        if settings.pixel_format is not None:
            features.set("PixelFormat", settings.pixel_format)
        if settings.roi is not None:
            _set_roi(camera, features, settings.roi)
        if settings.exposure_us is not None:
            features.set_first(_EXPOSURE, settings.exposure_us, "exposure_us")
        if settings.gain is not None:
            features.set_first(_GAIN, settings.gain, "gain")
        _set_timing(camera, features, settings)
        if settings.packet_size is not None:
            _set_packet_size(camera, settings.packet_size)
        pixel_format = features.get("PixelFormat")
    except GLib.Error as error:
        raise SourceError(f"{camera.name} did not answer while it was set up: {error.message}") from error
    if pixel_format not in PIXEL_FORMATS:
        raise InputError(
            f"{camera.name} sends {pixel_format}, which cannot be converted; set pixel_format to one of "
            f"{', '.join(PIXEL_FORMATS)}"
        )
    return pixel_format


def _set_roi(camera: AravisCamera, features: Features, roi: tuple[int, int, int, int]) -> None:
    left, top, width, height = roi
    sensor: Any = camera.handle.get_sensor_size()
    if left + width > sensor.width or top + height > sensor.height:
        raise InputError(
            f"{camera.name}: roi {list(roi)} ends at {left + width} x {top + height} px, the sensor ends at "
            f"{sensor.width} x {sensor.height}; make it smaller or move it"
        )
    # The range of a size depends on the offset and the other way round: back to the corner first.
    for name, value in (("OffsetX", 0), ("OffsetY", 0), ("Width", width), ("Height", height)):
        if features.has(name) or value:
            features.set(name, value)
    for name, value in (("OffsetX", left), ("OffsetY", top)):
        if value:
            features.set(name, value)


def _set_timing(camera: AravisCamera, features: Features, settings: CameraSettings) -> None:
    from gi.repository import Aravis

    camera.handle.set_acquisition_mode(Aravis.AcquisitionMode.CONTINUOUS)
    camera.handle.clear_triggers()
    if settings.trigger is not None:
        if features.has("TriggerSelector"):
            features.set("TriggerSelector", "FrameStart")
        features.set("TriggerSource", settings.trigger)
        if settings.trigger_edge is not None:
            features.set("TriggerActivation", settings.trigger_edge)
        features.set("TriggerMode", "On")
        if settings.trigger == "Software" and not features.has(SOFTWARE_TRIGGER):
            raise InputError(
                f"{camera.name} has no {SOFTWARE_TRIGGER}: it cannot be triggered by software; name an input"
            )
    elif settings.frame_rate_hz is not None:
        if features.has("AcquisitionFrameRateEnable"):
            features.set("AcquisitionFrameRateEnable", True)
        features.set_first(_RATE, settings.frame_rate_hz, "frame_rate_hz")


def _set_packet_size(camera: AravisCamera, size: int) -> None:
    camera.handle.gv_set_packet_size(size)
    taken = camera.handle.gv_get_packet_size()
    if taken != size:
        raise InputError(f"{camera.name}: packet_size {size} was not taken, it is {taken}; give one that it takes")


def exposure_us(features: Features) -> float | None:
    """Return the exposure time of the next frames; None where the camera changes it by itself, or does not tell."""
    if features.has("ExposureAuto") and features.get("ExposureAuto") != "Off":
        return None
    name = next((name for name in _EXPOSURE if features.has(name)), None)
    return None if name is None else float(features.get(name))
