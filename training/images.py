"""Labelled images held in memory for training: uint8 images, class masks, and which labels may be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import TrainingError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.foreground import part_of
from jetspect.training.config import SupervisionSettings

U8 = npt.NDArray[np.uint8]
IGNORED = 255
"""Mask value of pixels that no loss counts."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images uint8 H x W (x 3) with masks uint8 H x W: 0 background, k class k-1, 255 not counted.

    Attributes
    ----------
    defective
        Whether an image has a defect: the label of the whole image.
    seen
        Whether the mask of an image may be used; False for those of which only ``defective`` is known.
    parts
        uint8 H x W per image, 1 where the part is; empty where nobody asked for them.
    """

    images: tuple[U8, ...]
    masks: tuple[U8, ...]
    defective: tuple[bool, ...]
    seen: tuple[bool, ...]
    parts: tuple[U8, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per channel on the 0-255 scale, averaged over the images."""
        parts = [cv2.meanStdDev(image) for image in self.images]
        mean = np.mean([p[0][:, 0] for p in parts], axis=0)
        std = np.mean([p[1][:, 0] for p in parts], axis=0)
        return tuple(round(float(m), 3) for m in mean), tuple(round(max(float(s), 1.0), 3) for s in std)


def load_images(
    data: DataSet,
    *,
    channels: int,
    seed: int = 0,
    supervision: SupervisionSettings | None = None,
    dilate_px: int = 0,
    with_parts: bool = False,
    hide_background: bool = False,
    on_load: Callable[[], None] = lambda: None,
) -> LabelledImages:
    """Read every labelled image of a data set.

    With mixed supervision the masks of a random share of the defective images are seen (the seed chooses them), and
    those of clean images, which say no more than that the image is clean. With weak supervision none is.

    Parameters
    ----------
    with_parts, hide_background
        Find out where the part is (see :func:`~jetspect.evaluation.foreground.part_of`), and mark what lies outside it
        as not counted.

    Raises
    ------
    TrainingError
        No image has a label, none has a defect, or the supervision level leaves nothing to learn from.
    """
    images: list[U8] = []
    masks: list[U8] = []
    parts: list[U8] = []
    for index in range(len(data)):
        sample = data[index]
        on_load()
        if sample.mask is not None:
            images.append(to_channels(sample.image, channels))
            masks.append(dilate(sample.mask, dilate_px))
            if with_parts or hide_background:
                parts.append(part_of(data, index, sample))
            if hide_background:
                masks[-1] = np.where((parts[-1] == 0) & (masks[-1] == 0), np.uint8(IGNORED), masks[-1])
    if not images:
        raise TrainingError(f"data set {data.name} has no labelled image in this split")
    defective = tuple(bool(((mask > 0) & (mask != IGNORED)).any()) for mask in masks)
    if not any(defective):
        raise TrainingError(
            f"data set {data.name} has no image with a defect: all {len(masks)} masks are empty ({', '.join(data.ids[:3])}, "
            "...); look at them with jetspect data check"
        )
    seen = _seen(defective, supervision, seed)
    return LabelledImages(tuple(images), tuple(masks), defective, seen, tuple(parts))


def _seen(defective: tuple[bool, ...], supervision: SupervisionSettings | None, seed: int) -> tuple[bool, ...]:
    settings = supervision or SupervisionSettings()
    if settings.level == "none":
        raise TrainingError(
            "supervision.level none means learning from clean images alone, which no model here can; use full, mixed or weak"
        )
    if settings.level != "mixed":
        return tuple(settings.level == "full" for _ in defective)
    places = [index for index, has in enumerate(defective) if has]
    count = max(1, round(settings.share * len(places)))
    chosen = set(np.random.default_rng([seed, 1]).permutation(places)[:count].tolist())
    return tuple(not has or index in chosen for index, has in enumerate(defective))


def dilate(mask: U8, radius_px: int) -> U8:
    """Grow every class of a mask by a round kernel; classes do not grow over each other.

    Tabernik et al. (2020), section 4: annotations dilated in several steps, since where a crack ends is hard to draw.
    """
    if radius_px == 0 or not mask.any():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    grown: U8 = mask.copy()
    for value in np.unique(mask[(mask > 0) & (mask != IGNORED)]):
        reach = cv2.dilate((mask == value).astype(np.uint8), kernel) > 0
        grown[reach & (grown == 0)] = value
    return grown


def to_channels(image: U8, channels: int) -> U8:
    """Convert between grey (H x W) and BGR (H x W x 3) as the runtime does."""
    if channels == 3 and image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    if channels == 1 and image.ndim == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
    return image
