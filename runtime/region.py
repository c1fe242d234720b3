"""``[tiling]`` of a station file, and which part of a frame it asks to inspect."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from jetspect.errors import InputError
from jetspect.runtime.images import read_image
from jetspect.runtime.settings import LocalPath, Settings

U8 = npt.NDArray[np.uint8]


class TilingSettings(Settings):
    """How frames are cut, and the region of interest. Tiles without any of the region are skipped."""

    tile_px: int | None = Field(None, ge=1, description="Tile edge; None takes the bundle's")
    batch: int = Field(1, ge=1, le=64, description="Tiles per engine run")
    roi_xyxy: tuple[int, int, int, int] | None = Field(
        None, description="Left, top, right, bottom of the region to inspect (right and bottom exclusive)"
    )
    roi_mask: LocalPath | None = Field(None, description="Image of the frame's size, non-zero where to inspect")

    @model_validator(mode="after")
    def _one_region(self) -> TilingSettings:
        if self.roi_xyxy is not None and self.roi_mask is not None:
            raise ValueError("set roi_xyxy or roi_mask, not both")
        if self.roi_xyxy is not None:
            left, top, right, bottom = self.roi_xyxy
            if not (0 <= left < right and 0 <= top < bottom):
                raise ValueError(f"roi_xyxy needs 0 <= left < right and 0 <= top < bottom, got {self.roi_xyxy}")
        return self

    @property
    def whole_frame(self) -> bool:
        """Whether no region narrows down what is inspected."""
        return self.roi_xyxy is None and self.roi_mask is None


def region_mask(settings: TilingSettings, frame_hw: tuple[int, int]) -> U8 | None:
    """Return the region as uint8 H x W of 0 and 255; None for the whole frame.

    Raises
    ------
    InputError
        The region does not fit the frame.
    ImageError
        The mask image cannot be read.
    """
    height, width = frame_hw
    if settings.roi_mask is not None:
        mask = read_image(settings.roi_mask)
        if mask.shape[:2] != frame_hw:
            size = f"{mask.shape[1]} x {mask.shape[0]}"
            raise InputError(f"{settings.roi_mask} is {size} px, the frame {width} x {height}: draw it on a frame")
        inside = mask > 0 if mask.ndim == 2 else mask.any(axis=2)
        if not inside.any():
            raise InputError(
                f"{settings.roi_mask} is black everywhere: nothing would be inspected; paint the part white"
            )
        return np.where(inside, 255, 0).astype(np.uint8)
    if settings.roi_xyxy is None:
        return None
    left, top, right, bottom = settings.roi_xyxy
    if right > width or bottom > height:
        raise InputError(f"roi_xyxy {settings.roi_xyxy} reaches outside the {width} x {height} px frame")
    region = np.zeros(frame_hw, np.uint8)
    region[top:bottom, left:right] = 255
    return region
