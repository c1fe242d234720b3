"""Score whole validation images and read off how good every threshold would be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from jetspect.evaluation.datasets.base import DataSet
from jetspect.training.sampling import to_channels

U8 = npt.NDArray[np.uint8]
_ALIGN = 64  # whole images are padded to a multiple of this; no model here has a larger stride


@dataclass(frozen=True)
class Curve:
    """IoU of one class at all 255 thresholds: ``iou`` pooled over pixels, ``iou_mean`` over images with that class."""

    iou: npt.NDArray[np.float64]
    iou_mean: npt.NDArray[np.float64]

    @property
    def best_level(self) -> int:
        """The uint8 threshold with the best average of both; 128 where the class is never found and none is better."""
        quality = self.iou + self.iou_mean
        return int(np.argmax(quality)) + 1 if quality.max() > 0 else 128


@torch.no_grad()
def score_image(model: nn.Module, image: U8, mean: torch.Tensor, std: torch.Tensor, *, bfloat16: bool) -> U8:
    """Score a whole image H x W x C in one piece; uint8 K x H x W."""
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 0, -height % _ALIGN, 0, -width % _ALIGN, cv2.BORDER_REFLECT_101)
    pixels = torch.from_numpy(np.atleast_3d(padded)).to(mean.device).permute(2, 0, 1)[None].float()
    x = ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
    with torch.autocast(mean.device.type, torch.bfloat16, enabled=bfloat16):
        logits = model(x)
    scores = (logits.float().sigmoid() * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scores[0, :, :height, :width].cpu().numpy())


def labelled(data: DataSet, channels: int) -> Iterator[tuple[U8, U8]]:
    """Yield (image, mask) of every labelled image."""
    for index in range(len(data)):
        sample = data[index]
        if sample.mask is not None:
            yield to_channels(sample.image, channels), sample.mask


def threshold_curves(
    pairs: Iterator[tuple[U8, U8]] | list[tuple[U8, U8]], score: Callable[[U8], U8], classes: int
) -> list[Curve]:
    """Return a curve per class from one pass over the images.

    Histograms of the scores inside and outside the true mask give the counts at every threshold at once.
    """
    inside: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(classes)]
    outside: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(classes)]
    for image, mask in pairs:
        scores = score(image)
        for k in range(classes):
            truth = mask == k + 1
            inside[k].append(np.bincount(scores[k][truth], minlength=256))
            outside[k].append(np.bincount(scores[k][~truth], minlength=256))
    return [_curve(np.array(i), np.array(o)) for i, o in zip(inside, outside, strict=True)]


def _curve(inside: npt.NDArray[np.int64], outside: npt.NDArray[np.int64]) -> Curve:
    def reached(histogram: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Pixels at or above each level 1..255, per image."""
        return np.cumsum(histogram[:, ::-1], axis=1)[:, ::-1][:, 1:].astype(np.float64)

    tp, fp = reached(inside), reached(outside)
    truth = inside.sum(axis=1, keepdims=True)
    union = fp + truth
    with_class = truth[:, 0] > 0
    per_image = tp[with_class] / union[with_class]
    mean = per_image.mean(axis=0) if with_class.any() else np.zeros(255)
    return Curve(tp.sum(axis=0) / np.maximum(union.sum(axis=0), 1), mean)
