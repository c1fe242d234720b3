"""Batches for training. Batch ``n`` depends on the seed and ``n`` alone, so a resumed run sees what it would have seen."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import TrainingError
from jetspect.runtime.whole import resize
from jetspect.training.augment import change_look, warp_crop
from jetspect.training.config import AugmentSettings, CropSettings, TrainConfig
from jetspect.training.focal import FocalSettings, pixel_weights
from jetspect.training.images import IGNORED, LabelledImages
from jetspect.training.transfer import TransferSettings, cut_defects, transfer_defects

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
_STRIDE = 4  # defect pixels are remembered on every fourth row and column


class Batch(NamedTuple):
    """What one step learns from.

    Attributes
    ----------
    images, masks
        uint8 N x H x W x C and N x H x W.
    defective, seen
        bool N: is there a defect, and may the mask be used.
    weights
        float32 N x H x W: how much each pixel counts in the focal loss; empty where that is not used.
    """

    images: U8
    masks: U8
    defective: Flags
    seen: Flags
    weights: F32


class Sampler(Protocol):
    """A map-style data set of batches for torch's DataLoader."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> Batch: ...


class CropSampler:
    """Random crops that balance defects and background; images whose mask may not be seen are left out.

    Parameters
    ----------
    transfer
        Blend defects of other images in before the crop is cut; ``data`` must know its parts then.
    focal
        Weigh pixels for the focal loss; None leaves the weights empty.
    """

    def __init__(
        self,
        data: LabelledImages,
        crops: CropSettings,
        augment: AugmentSettings,
        *,
        steps: int,
        seed: int,
        transfer: TransferSettings | None = None,
        focal: FocalSettings | None = None,
    ) -> None:
        self._transfer, self._focal = transfer, focal
        self._crops, self._augment, self._steps, self._seed = crops, augment, steps, seed
        usable = [index for index, seen in enumerate(data.seen) if seen]
        self._images = [data.images[i] for i in usable]
        self._masks = [data.masks[i] for i in usable]
        self._spots = [_spots(mask) for mask in self._masks]
        self._defective = [i for i, spots in enumerate(self._spots) if len(spots)]
        self._parts = [data.parts[i] for i in usable] if transfer is not None else []
        self._patches = [
            patch
            for image, mask in zip(self._images, self._masks, strict=True)
            if transfer is not None
            for patch in cut_defects(image, _labels(mask), transfer)
        ]
        areas = np.array([mask.size for mask in self._masks], np.float64)
        self._area = areas / areas.sum()
        share = areas[self._defective] ** crops.area_power
        self._defective_share = share / share.sum()

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self._seed, step])
        pairs = [self._crop(rng) for _ in range(self._crops.batch)]
        masks = np.stack([mask for _, mask in pairs])
        defective: Flags = np.any(_labels(masks), axis=(1, 2))
        images, seen = np.stack([image for image, _ in pairs]), np.ones(len(pairs), np.bool_)
        return Batch(images, masks, defective, seen, _weights(masks, self._focal))

    def _crop(self, rng: np.random.Generator) -> tuple[U8, U8]:
        width, height = self._crops.size_wh
        on_defect = rng.random() < self._crops.defect_share
        # A larger image has more background to learn from, so it is drawn more often for it.
        if on_defect:
            index = int(rng.choice(self._defective, p=self._defective_share))
        else:
            index = int(rng.choice(len(self._images), p=self._area))
        image, mask = self._pasted(index, rng)
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

    def _pasted(self, index: int, rng: np.random.Generator) -> tuple[U8, U8]:
        image, mask = self._images[index], self._masks[index]
        if self._transfer is None:
            return image, mask
        new = transfer_defects(image, _labels(mask), self._parts[index], self._patches, self._transfer, rng)
        return new.image, np.where((mask == IGNORED) & (new.mask == 0), mask, new.mask)


class WholeSampler:
    """Whole images resized to one size, defective and clean in turn (Tabernik et al. 2020, section 4).

    Each kind is gone through in a new random order before any image comes again. Without a clean image every image is
    defective, and the other way round. Of the augmentation, turns are about the middle of the image.
    """

    def __init__(
        self,
        data: LabelledImages,
        crops: CropSettings,
        augment: AugmentSettings,
        *,
        steps: int,
        seed: int,
        focal: FocalSettings | None = None,
    ) -> None:
        self._data, self._batch, self._augment, self._focal = data, crops.batch, augment, focal
        self._steps, self._seed = steps, seed
        self._size_wh = crops.size_wh
        kinds = ([i for i, has in enumerate(data.defective) if has is kind] for kind in (True, False))
        self._turns = [places for places in kinds if places]
        pairs = [resize_pair(i, m, crops.size_wh) for i, m in zip(data.images, data.masks, strict=True)]
        self._images, self._masks = [p[0] for p in pairs], [p[1] for p in pairs]

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self._seed, step])
        chosen = [self._at(step * self._batch + n) for n in range(self._batch)]
        pairs = [self._vary(index, rng) for index in chosen]
        masks = np.stack([mask for _, mask in pairs])
        return Batch(
            np.stack([image for image, _ in pairs]),
            masks,
            np.array([self._data.defective[i] for i in chosen]),
            np.array([self._data.seen[i] for i in chosen]),
            _weights(masks, self._focal),
        )

    def _at(self, count: int) -> int:
        """Return the image that comes at a place of the endless sequence."""
        turn, place = count % len(self._turns), count // len(self._turns)
        members = self._turns[turn]
        order = np.random.default_rng([self._seed, 2, turn, place // len(members)]).permutation(members)
        return int(order[place % len(members)])

    def _vary(self, index: int, rng: np.random.Generator) -> tuple[U8, U8]:
        width, height = self._size_wh
        image, mask = self._images[index], self._masks[index]
        image, mask = warp_crop(image, mask, (width / 2, height / 2), self._size_wh, self._augment, rng)
        image = change_look(image, self._augment, rng)
        return (image if image.ndim == 3 else image[:, :, None]), mask


def resize_pair(image: U8, mask: U8, size_wh: tuple[int, int]) -> tuple[U8, U8]:
    """Resize an image and its mask; the image as the runtime does (:func:`~jetspect.runtime.whole.resize`).

    A class keeps at least the pixels whose largest share of the old ones it has; thin defects are not lost, since each
    class is resized by itself and any share counts.
    """
    width, height = size_wh
    shrinks = width * height < image.shape[0] * image.shape[1]
    label = np.zeros((height, width), np.uint8)
    best = np.zeros((height, width), np.float32)
    for value in np.unique(mask[mask > 0]):
        share = cv2.resize((mask == value).astype(np.float32), size_wh, interpolation=cv2.INTER_AREA)
        larger = share > np.maximum(best, 0.0 if shrinks else 0.499)
        label[larger], best[larger] = value, share[larger]
    return resize(image, size_wh), label


def _labels(mask: U8) -> U8:
    """Return the classes alone, without the mark of pixels that do not count."""
    return np.where(mask == IGNORED, np.uint8(0), mask)


def _weights(masks: U8, focal: FocalSettings | None) -> F32:
    if focal is None:
        return np.zeros(0, np.float32)
    return np.stack([pixel_weights(_labels(m), (m != IGNORED).astype(np.uint8), focal) for m in masks])


def _spots(mask: U8) -> npt.NDArray[np.int32]:
    """Places of defect pixels, thinned out; a defect smaller than the grid keeps one."""
    real = _labels(mask) > 0
    thin = np.argwhere(real[::_STRIDE, ::_STRIDE]).astype(np.int32) * _STRIDE
    return thin if len(thin) else np.argwhere(real)[:1].astype(np.int32)


def make_sampler(config: TrainConfig, images: LabelledImages, steps: int) -> Sampler:
    """Return the sampler that a training file asks for. Raises TrainingError where its sections do not fit together."""
    losses = [phase.loss or config.loss for phase in config.phases] or [config.loss]
    focal = config.focal if any(loss.focal for loss in losses) else None
    if not config.crops.whole:
        return CropSampler(
            images, config.crops, config.augment, steps=steps, seed=config.seed, transfer=config.transfer, focal=focal
        )
    if config.transfer is not None:
        raise TrainingError("transfer blends defects into crops; remove [transfer], or set crops.whole = false")
    return WholeSampler(images, config.crops, config.augment, steps=steps, seed=config.seed, focal=focal)
