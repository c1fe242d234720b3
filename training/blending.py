"""Blend a patch into a piece of an image of its size, by alpha or by Poisson. uint8 in, uint8 out, inputs untouched."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
_ERODED_PX = 3  # OpenCV's seamlessClone wears its mask away by this before it looks at gradients
_LEAST_PX = 12
_MAX_GAIN = 1.6
_FEATHER_PX = 5.0  # a wider one shows as a halo of foreign surface
_KEPT_CONTRAST = 0.5


def alpha_blend(under: U8, patch: U8, reach: U8, mask: U8) -> U8:
    """Lay a patch over a piece: whole on the defect, fading to nothing at the end of its reach.

    The patch's colours are first multiplied, each by 1.6 at most, so that its margin looks like what it covers.

    Parameters
    ----------
    under, patch
        uint8 h x w x C or h x w.
    reach, mask
        uint8 h x w, non-zero where the patch may show and where its defect is.
    """
    alpha = fade(reach, mask)
    rim = (reach > 0) & (mask == 0)
    values, below = patch.astype(np.float32), under.astype(np.float32)
    if rim.any():
        gain = (below[rim].mean(axis=0) + 1) / (values[rim].mean(axis=0) + 1)
        values *= np.clip(gain, 1 / _MAX_GAIN, _MAX_GAIN)
    if under.ndim == 3:
        alpha = alpha[:, :, None]
    return np.asarray(np.clip(below + alpha * (values - below) + 0.5, 0, 255), np.uint8)


def fade(reach: U8, mask: U8) -> npt.NDArray[np.float32]:
    """Return how much of the patch shows, 0-1: 1 on the defect, falling to 0 within 5 px or at the end of its reach."""
    outside = cv2.distanceTransform(np.pad((reach > 0).astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    to_defect = cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5)
    ramp = np.clip(np.minimum(1 - (to_defect - 1) / _FEATHER_PX, outside / _FEATHER_PX), 0, 1)
    smooth = ramp * ramp * (3 - 2 * ramp)
    return np.asarray(np.where(reach > 0, np.where(mask > 0, 1, smooth), 0), np.float32)


def poisson_blend(under: U8, patch: U8, reach: U8, mask: U8) -> U8 | None:
    """Paste the patch's gradients, so that its margin takes on the colours of what it covers (cv2.seamlessClone).

    Returns None where that cannot work: OpenCV refuses it, wears the mask of a small patch away and pastes nothing, or the
    place pulls the defect's own colours so far that less than half of its contrast is left.
    Pixels outside the reach stay as they were. See :func:`alpha_blend` for the parameters.
    """
    core = cv2.erode((reach > 0).astype(np.uint8), np.ones((3, 3), np.uint8), iterations=_ERODED_PX, borderValue=0)
    if min(reach.shape) < _LEAST_PX or (np.asarray(mask > 0) & (core == 0)).any():
        return None
    # seamlessClone reads beyond the mask's box and fails at the image's edge: give it a rim of its own.
    pad = 2
    colour = (cv2.cvtColor(a, cv2.COLOR_GRAY2BGR) if a.ndim == 2 else a for a in (under, patch))
    below, above = (cv2.copyMakeBorder(a, pad, pad, pad, pad, cv2.BORDER_REPLICATE) for a in colour)
    where = np.pad((reach > 0).astype(np.uint8) * np.uint8(255), pad)
    x, y, w, h = cv2.boundingRect(where)
    try:
        cloned = cv2.seamlessClone(above, below, where, (x + w // 2, y + h // 2), cv2.NORMAL_CLONE)
    except cv2.error:
        return None
    cloned = cloned[pad:-pad, pad:-pad]
    cloned = cv2.cvtColor(cloned, cv2.COLOR_BGR2GRAY) if under.ndim == 2 else cloned
    keep = reach > 0 if under.ndim == 2 else (reach > 0)[:, :, None]
    blended = np.asarray(np.where(keep, cloned, under), np.uint8)
    changed = bool((blended[mask > 0] != under[mask > 0]).any())
    kept = _contrast(blended, reach, mask) >= _KEPT_CONTRAST * _contrast(patch, reach, mask)
    return blended if changed and kept else None


def _contrast(image: U8, reach: U8, mask: U8) -> float:
    """How much darker or brighter a defect is than its margin, as a share of the margin's brightness."""
    rim = (reach > 0) & (mask == 0)
    if not rim.any() or not (mask > 0).any():
        return 0.0
    around = float(image[rim].mean())
    return abs(float(image[mask > 0].mean()) - around) / (around + 1)
