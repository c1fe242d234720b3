"""Focal loss that stresses hard regions and hides the background, for the second stage of a two-stage model.

Lin, Goyal, Girshick, He and Dollar (2017), "Focal Loss for Dense Object Detection", section 3.2:
``FL(p_t) = -(1 - p_t)^gamma log(p_t)``, with p_t = p on defect pixels and 1 - p elsewhere.

d-fine (Sheet Metal 2023) "modifies the focal loss to stress hard regions and to hide the background"; how is not known here
in more detail than that, so what follows is our reading of it: the loss is a weighted mean over pixels in which

- pixels outside the foreground weigh nothing: stage one never shows them to stage two at run time;
- pixels within ``band_px`` of a defect's outline weigh ``1 + band_gain``: there labels and scores disagree most;
- pixels of defects smaller than ``small_px``, and of the band around them, gain up to ``small_gain`` more, linearly with how
  much smaller they are: a missed small defect is a missed defect, though it is few pixels.

Weights come from masks on the host (labelling components is no work for a GPU), the loss is a function of tensors.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from jetspect.errors import InputError
from jetspect.runtime.settings import Settings

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


class FocalSettings(Settings):
    """Strength of the focal loss and of its weights; gains of 0 leave all pixels of the foreground alike."""

    gamma: float = Field(2.0, ge=0, le=5, description="0 is binary cross-entropy; more looks less at easy pixels")
    band_px: int = Field(3, ge=0, le=64, description="Half width of the band along a defect's outline")
    band_gain: float = Field(1.0, ge=0, le=100, description="Extra weight in the band")
    small_px: int = Field(400, ge=1, description="Defects of fewer pixels gain weight")
    small_gain: float = Field(2.0, ge=0, le=100, description="Extra weight of the smallest ones")


def focal_loss(logits: Tensor, target: Tensor, *, gamma: float, weights: Tensor | None = None) -> Tensor:
    """Return the weighted mean of the focal loss over all pixels and classes.

    Parameters
    ----------
    logits, target
        N x K x H x W; the target is 0 or 1.
    weights
        N x H x W or N x 1 x H x W, at least 0; all 0 gives a loss of 0. None weighs every pixel alike.
    """
    cross_entropy = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    # p_t without a logarithm of it: at p_t close to 1 the sum 1 - p_t would lose its digits.
    wrong = torch.sigmoid(torch.where(target > 0.5, -logits.float(), logits.float()))
    loss = wrong**gamma * cross_entropy if gamma else cross_entropy
    if weights is None:
        return loss.mean()
    if weights.ndim == 3:
        weights = weights[:, None]
    return (loss * weights).sum() / (weights.sum() * loss.shape[1]).clamp_min(1e-12)


def pixel_weights(mask: U8, foreground: U8 | None, settings: FocalSettings) -> F32:
    """Return how much every pixel of one image counts; float32 H x W.

    Parameters
    ----------
    mask
        uint8 H x W, 0 background, k class k - 1.
    foreground
        uint8 H x W, 0 where pixels do not count; None counts all of them. Labelled defects always count.

    Raises
    ------
    InputError
        The two differ in size.
    """
    if foreground is not None and foreground.shape != mask.shape:
        raise InputError(f"the foreground is {foreground.shape}, the mask {mask.shape}; both need one value per pixel")
    weights = np.ones(mask.shape, np.float32)
    kernel = np.ones((2 * settings.band_px + 1, 2 * settings.band_px + 1), np.uint8)
    for value in np.unique(mask[mask > 0]):
        of_class = (mask == value).astype(np.uint8)
        extra = settings.band_gain * _band(of_class, kernel) + _small(of_class, kernel, settings)
        np.maximum(weights, 1 + extra, out=weights)  # where classes meet the larger weight counts
    if foreground is not None:
        weights[(foreground == 0) & (mask == 0)] = 0
    return weights


def batch_weights(masks: U8, foregrounds: U8 | None, settings: FocalSettings) -> Tensor:
    """Return :func:`pixel_weights` of a batch: masks and foregrounds uint8 N x H x W, weights float32 N x H x W."""
    rows = [
        pixel_weights(mask, None if foregrounds is None else foregrounds[i], settings) for i, mask in enumerate(masks)
    ]
    return torch.from_numpy(np.stack(rows))


def _band(of_class: U8, kernel: U8) -> F32:
    """1 within reach of the outline, on both sides of it; the image's edge is no outline."""
    if kernel.size == 1:
        return np.zeros(of_class.shape, np.float32)
    grown, worn = cv2.dilate(of_class, kernel), cv2.erode(of_class, kernel)
    return np.asarray(grown != worn, np.float32)


def _small(of_class: U8, kernel: U8, settings: FocalSettings) -> F32:
    """The extra weight of small defects, spread over their band; where two meet the smaller one counts."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(of_class, connectivity=8)
    gains = settings.small_gain * np.maximum(0.0, 1 - stats[:, cv2.CC_STAT_AREA] / settings.small_px)
    gains[0] = 0.0
    if count == 1 or not gains.any():
        return np.zeros(of_class.shape, np.float32)
    return np.asarray(cv2.dilate(gains.astype(np.float32)[labels], kernel), np.float32)
