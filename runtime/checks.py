"""Is this frame fit to be judged? A frame that fails a check is UNKNOWN, never OK."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field

from jetspect.runtime.settings import Settings

U8 = npt.NDArray[np.uint8]
_STEP = 4  # brightness is read from every fourth pixel of every fourth row
_PATCH = 128  # sharpness is read from a 5 x 5 raster of patches of this edge
_NOISE_PX = 1.5  # what is finer than this is taken for sensor noise
_SATURATED = 250


class CheckSettings(Settings):
    """``[checks]`` of a station file."""

    size_wh: tuple[int, int] | None = Field(None, description="Expected width and height in px; None accepts any")
    min_brightness: float = Field(
        16.0, ge=0, le=255, description="The brightest 2 % of the frame must reach this grey level; below: black frame"
    )
    min_contrast: float = Field(
        4.0, ge=0, le=255, description="Grey levels between the darkest and brightest 2 %; below: nothing in view"
    )
    max_saturated: float = Field(
        0.5, ge=0, le=1, description="Share of pixels at 250 or above that is allowed; above: overexposed"
    )
    min_sharpness: float = Field(
        1.2, ge=0, description="Variance of the Laplacian of the sharpest patch, grey levels squared; 0 switches it off"
    )
    # Measured: sharp frames of BSData, the magnetic tiles and the synthetic camera have 2.3 and more; blurred with a sigma of
    # 4 px, with sensor noise of up to 3 grey levels, they have 0.7 and less.


def check_frame(image: U8, settings: CheckSettings) -> tuple[str, ...]:
    """Return the reasons why a frame cannot be judged; none when it can.

    Parameters
    ----------
    image
        uint8, H x W x 3 (BGR) or H x W. Colour frames are judged by their green channel.
    """
    reasons = []
    height, width = image.shape[:2]
    if settings.size_wh is not None and (width, height) != tuple(settings.size_wh):
        expected = f"{settings.size_wh[0]} x {settings.size_wh[1]}"
        reasons.append(f"frame is {width} x {height} px, expected {expected}")
    grey = image if image.ndim == 2 else image[:, :, 1]
    histogram = np.bincount(grey[::_STEP, ::_STEP].ravel(), minlength=256)
    share = np.cumsum(histogram) / histogram.sum()
    dark, bright = int(np.searchsorted(share, 0.02)), int(np.searchsorted(share, 0.98))
    saturated = float(histogram[_SATURATED:].sum() / histogram.sum())
    if bright < settings.min_brightness:
        reasons.append(
            f"frame is black: its brightest 2 % reach {bright}, at least {settings.min_brightness:g} is needed"
        )
    elif saturated > settings.max_saturated:
        reasons.append(
            f"frame is overexposed: {saturated:.0%} of it is saturated, at most {settings.max_saturated:.0%} is allowed"
        )
    elif bright - dark < settings.min_contrast:
        reasons.append(
            f"frame shows nothing: grey levels span {bright - dark}, at least {settings.min_contrast:g} is needed"
        )
    elif settings.min_sharpness > 0 and (value := sharpness(grey)) < settings.min_sharpness:
        reasons.append(f"frame is blurred: sharpness {value:.1f}, at least {settings.min_sharpness:g} is needed")
    return tuple(reasons)


def sharpness(grey: U8) -> float:
    """Variance of the Laplacian of the sharpest of 5 x 5 patches, in grey levels squared, after smoothing away sensor noise.

    The sharpest patch is taken because a plain background may fill most of the frame.
    """
    height, width = grey.shape
    best = 0.0
    for y in np.linspace(0, max(0, height - _PATCH), 5).astype(int):
        for x in np.linspace(0, max(0, width - _PATCH), 5).astype(int):
            patch = np.ascontiguousarray(grey[y : y + _PATCH, x : x + _PATCH])
            smooth = cv2.GaussianBlur(patch.astype(np.float32), (0, 0), _NOISE_PX)
            best = max(best, float(cv2.Laplacian(smooth, cv2.CV_32F).var()))
    return best
