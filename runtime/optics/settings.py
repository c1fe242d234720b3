"""``[optics]`` of a station file: how large a pixel is on the part."""

from __future__ import annotations

from pydantic import Field, model_validator

from jetspect.errors import ConfigError, InputError
from jetspect.runtime.optics.scale import FlatScale, Scale, ViewScale
from jetspect.runtime.optics.view import load_view
from jetspect.runtime.settings import LocalPath, Settings


class OpticsSettings(Settings):
    """``[optics]``: geometry of the view. Without either, nothing is measured in mm."""

    pixel_pitch_mm: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Edge of one pixel on the part, the same all over the frame"
    )
    view: LocalPath | None = Field(None, description="Calibrated view, made by jetspect camera calibrate")

    @model_validator(mode="after")
    def _one_of_both(self) -> OpticsSettings:
        if self.pixel_pitch_mm is not None and self.view is not None:
            raise ValueError("pixel_pitch_mm and view both say how large a pixel is: leave one out")
        return self

    def open_scale(self) -> Scale | None:
        """Return what measures in mm; None where nothing does. Raises InputError for a view that cannot be used."""
        if self.pixel_pitch_mm is not None:
            return FlatScale(self.pixel_pitch_mm)
        if self.view is None:
            return None
        view = load_view(self.view)
        try:
            return ViewScale(view)
        except InputError as error:
            raise ConfigError(str(self.view), [str(error)]) from error
