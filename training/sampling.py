"""Batches of random crops that balance defects and background. Batch ``n`` depends on the seed and ``n`` alone."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import TrainingError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.training.augment import change_look, warp_crop
from jetspect.training.config import AugmentSettings, CropSettings

U8 = npt.NDArray[np.uint8]
_STRIDE = 4  # defect pixels are remembered on every fourth row and column


class CropSampler:
    """A map-style data set of batches: ``sampler[step] -> (images N x H x W x C, masks N x H x W)``, both uint8.

    All images are held in memory as uint8.

    Raises
    ------
    TrainingError
        No image has a label, or none has a defect.
    """

    def __init__(
        self,
        data: DataSet,
        crops: CropSettings,
        augment: AugmentSettings,
        *,
        channels: int,
        steps: int,
        seed: int,
        on_load: Callable[[], None] = lambda: None,
    ) -> None:
        self._crops, self._augment, self._steps, self._seed = crops, augment, steps, seed
        self._images: list[U8] = []
        self._masks: list[U8] = []
        for index in range(len(data)):
            sample = data[index]
            on_load()
            if sample.mask is not None:
                self._images.append(to_channels(sample.image, channels))
                self._masks.append(sample.mask)
        if not self._images:
            raise TrainingError(f"data set {data.name} has no labelled image in this split")
        self._spots = [np.argwhere(m[::_STRIDE, ::_STRIDE]).astype(np.int32) * _STRIDE for m in self._masks]
        self._defective = [i for i, spots in enumerate(self._spots) if len(spots)]
        areas = np.array([mask.size for mask in self._masks], np.float64)
        self._area = areas / areas.sum()
        if not self._defective:
            raise TrainingError(f"data set {data.name} has no image with a defect; masks are empty or unreadable")

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> tuple[U8, U8]:
        rng = np.random.default_rng([self._seed, step])
        pairs = [self._crop(rng) for _ in range(self._crops.batch)]
        return np.stack([image for image, _ in pairs]), np.stack([mask for _, mask in pairs])

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per channel on the 0-255 scale, averaged over the images."""
        parts = [cv2.meanStdDev(image) for image in self._images]
        mean = np.mean([p[0][:, 0] for p in parts], axis=0)
        std = np.mean([p[1][:, 0] for p in parts], axis=0)
        return tuple(round(float(m), 3) for m in mean), tuple(round(max(float(s), 1.0), 3) for s in std)

    def _crop(self, rng: np.random.Generator) -> tuple[U8, U8]:
        width, height = self._crops.size_wh
        on_defect = rng.random() < self._crops.defect_share
        # A larger image has more background to learn from, so it is drawn more often for it.
        index = int(rng.choice(self._defective)) if on_defect else int(rng.choice(len(self._images), p=self._area))
        image, mask = self._images[index], self._masks[index]
        h, w = mask.shape
        if on_defect:
            y, x = self._spots[index][rng.integers(len(self._spots[index]))]
            # The defect may lie anywhere in the crop, not only in its middle.
            x = x + rng.integers(-width // 4, width // 4 + 1)
            y = y + rng.integers(-height // 4, height // 4 + 1)
        else:
            y, x = int(rng.integers(h)), int(rng.integers(w))
        # Keep most of the crop inside the image: what is reflected in teaches little.
        x = float(np.clip(x, min(w / 2, 0.4 * width), max(w / 2, w - 0.4 * width)))
        y = float(np.clip(y, min(h / 2, 0.4 * height), max(h / 2, h - 0.4 * height)))
        crop, label = warp_crop(image, mask, (x, y), (width, height), self._augment, rng)
        crop = change_look(crop, self._augment, rng)
        return (crop if crop.ndim == 3 else crop[:, :, None]), label


def to_channels(image: U8, channels: int) -> U8:
    """Convert between grey (H x W) and BGR (H x W x 3) as the runtime does."""
    if channels == 3 and image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    if channels == 1 and image.ndim == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
    return image
