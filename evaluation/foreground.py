"""Where is the part, in data sets that do not say so? An estimate without learning, to train a first stage on.

It rests on two priors: the part is in the middle of the image, and the background reaches the image's border, is plain there
(out of focus, or a tray) and has colours that the middle does not have. Such patches grow until they meet a strong edge
(watershed on the gradient of the shrunken image, as OpenCV has it after Meyer, 1992); what is left is the part. Where no such
patch is found the part fills the image. This is no ground truth: look at the estimates before training on them, and draw
masks by hand where they are wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.evaluation.datasets.base import DataSet, Sample
from jetspect.runtime.foreground import shrink

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
_EDGE_PX = 320  # longer side of the image the estimate is made on
_PLAIN = 2.0  # grey levels per pixel of that image
_OPEN_PX = 2
_MIDDLE = 0.55  # share of width and height that is part for sure
_SHARED = 0.2  # a patch that shares more of its colours with the middle is part
_LEAST_PX = 16


@runtime_checkable
class KnowsPart(Protocol):
    """A data set that knows where the part is in its images."""

    def part_mask(self, index: int) -> U8:
        """Return uint8 H x W: 1 where the part is."""
        ...


class PartMasks:
    """Any data set as one for a first stage: images shrunk as the runtime shrinks them, and where the part is.

    The masks come from :func:`part_of`.

    Parameters
    ----------
    scale
        The bundle's ``foreground.scale``.
    """

    classes = ("part",)

    def __init__(self, data: DataSet, scale: int) -> None:
        if not 1 <= scale <= 64:
            raise InputError(f"images are shrunk 1 to 64 times for stage one, got {scale}")
        self._data, self._scale = data, scale
        self.name = f"{data.name}, parts"
        self.ids: Sequence[str] = data.ids

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Sample:
        sample = self._data[index]
        part = part_of(self._data, index, sample)
        image = shrink(sample.image, self._scale)
        mask = (shrink(part * np.uint8(255), self._scale) > 127).astype(np.uint8)
        return Sample(sample.sample_id, image, mask, sample.group, sample.path)


def part_of(data: DataSet, index: int, sample: Sample) -> U8:
    """Return where the part is in one image of a data set, uint8 H x W, 1 part: known, or else estimated.

    Labelled damage belongs to the part in either case.
    """
    part = data.part_mask(index) if isinstance(data, KnowsPart) else estimate_foreground(sample.image)
    return part if sample.mask is None else np.maximum(part, (sample.mask > 0).astype(np.uint8))


def estimate_foreground(image: U8) -> U8:
    """Estimate where the part is; uint8 H x W, 1 part, 0 background. Deterministic.

    Parameters
    ----------
    image
        uint8, H x W x 3 (BGR) or H x W.
    """
    height, width = image.shape[:2]
    share = min(1.0, _EDGE_PX / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    small = small if small.ndim == 3 else np.asarray(cv2.cvtColor(small, cv2.COLOR_GRAY2BGR), np.uint8)
    background = _background(small) if min(size) >= _LEAST_PX else np.zeros(small.shape[:2], np.uint8)
    return np.asarray(cv2.resize(1 - background, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _background(small: U8) -> U8:
    middle = _middle(small.shape[0], small.shape[1])
    colours = _colours(small)
    usual = _histogram(colours[middle > 0])
    gradient = _gradient(small)
    seeds = np.zeros(middle.shape, np.uint8)
    for patch in _plain_at_the_border(gradient):
        own = _histogram(colours[patch])
        if float(np.minimum(own, usual).sum()) < _SHARED and not middle[patch].any():
            seeds[patch] = 1
    if not seeds.any():
        return seeds
    markers = np.where(seeds > 0, 1, 2 * middle.astype(np.int32)).astype(np.int32)
    relief = np.clip(4 * gradient, 0, 255).astype(np.uint8)
    cv2.watershed(cv2.merge([relief, relief, relief]), markers)
    likely = (_histogram(colours[seeds > 0]) > usual)[colours].astype(np.uint8)
    closed = cv2.morphologyEx(np.maximum(likely, seeds), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    grown = ((_without_lines(markers) == 1) & (closed > 0)).astype(np.uint8)
    part: U8 = 1 - _smooth(grown)
    return np.asarray(1 - _one_piece(part), np.uint8)


def _gradient(small: U8) -> F32:
    """Strength of the edges in grey levels per pixel, over all channels."""
    smooth = cv2.GaussianBlur(small, (0, 0), 1.0).astype(np.float32).reshape(*small.shape[:2], -1)
    total = np.zeros(small.shape[:2], np.float32)
    for channel in range(smooth.shape[2]):
        for order in ((1, 0), (0, 1)):
            total += (cv2.Sobel(smooth[:, :, channel], cv2.CV_32F, *order) / 8) ** 2
    return np.asarray(np.sqrt(total), np.float32)


def _middle(height: int, width: int) -> U8:
    """What is part for sure: 1 in an ellipse in the middle of the image."""
    middle = np.zeros((height, width), np.uint8)
    axes = int(width * _MIDDLE / 2), int(height * _MIDDLE / 2)
    cv2.ellipse(middle, (width // 2, height // 2), axes, 0, 0, 360, 1, cv2.FILLED)
    return middle


def _colours(small: U8) -> npt.NDArray[np.intp]:
    """Number every pixel's colour: 16 levels of lightness by 32 x 32 of chroma (CIE Lab)."""
    lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.0), cv2.COLOR_BGR2LAB).astype(np.intp)
    return np.asarray((lab[:, :, 0] >> 4) * 1024 + (lab[:, :, 1] >> 3) * 32 + (lab[:, :, 2] >> 3), np.intp)


def _histogram(colours: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Share of every colour, spread a little over its neighbours so that a step of light is not another colour."""
    counts = np.bincount(colours.ravel(), minlength=16 * 1024).astype(np.float64).reshape(16, 32, 32)
    for axis in range(3):
        counts = 0.5 * counts + 0.25 * (np.roll(counts, 1, axis) + np.roll(counts, -1, axis))
    return np.asarray(counts.ravel() / max(1.0, float(counts.sum())), np.float64)


def _plain_at_the_border(gradient: F32) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield the plain patches that touch the image's border."""
    plain = (gradient < _PLAIN).astype(np.uint8)
    kernel = np.ones((2 * _OPEN_PX + 1, 2 * _OPEN_PX + 1), np.uint8)
    plain = np.asarray(cv2.morphologyEx(plain, cv2.MORPH_OPEN, kernel), np.uint8)
    _, labels = cv2.connectedComponents(plain, connectivity=4)
    rim = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    for label in np.unique(rim[rim > 0]):
        yield labels == label


def _without_lines(markers: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The watershed marks the image's rim and the lines between regions with -1: the rim takes its neighbour's answer."""
    return np.pad(markers[1:-1, 1:-1], 1, mode="edge")


def _smooth(background: U8) -> U8:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    return np.asarray(cv2.morphologyEx(background, cv2.MORPH_OPEN, kernel), np.uint8)


def _one_piece(part: U8) -> U8:
    """Keep the largest piece and fill its holes: a hole is more likely a defect than background."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=4)
    if count > 1:
        part = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(part), outlines, -1, 1, cv2.FILLED), np.uint8)
