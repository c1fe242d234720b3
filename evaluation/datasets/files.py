"""What readers of files on disk share: entries, images, masks, and errors that name files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError, ImageError
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.datasets.info import DataSetInfo
from jetspect.evaluation.datasets.splits import validation_groups
from jetspect.runtime.images import SUFFIXES, read_image

U8 = npt.NDArray[np.uint8]
VALIDATION_SHARE = 0.2
GREY_EDGE = 127
_NAMED = 3


@dataclass(frozen=True)
class Entry:
    """One image of a data set before it is read.

    Attributes
    ----------
    label
        Whatever the reader needs to make its mask.
    """

    sample_id: str
    path: Path
    group: str
    label: Any = None


class FileDataSet:
    """A data set of image files; a reader says where they are and makes their masks.

    Attributes
    ----------
    entries
        In order of ``sample_id``.
    """

    info: ClassVar[DataSetInfo]
    classes: tuple[str, ...]

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: tuple[Entry, ...] = tuple(sorted(entries, key=lambda e: e.sample_id))
        self.ids: tuple[str, ...] = tuple(e.sample_id for e in self.entries)

    @property
    def name(self) -> str:
        return self.info.kind

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self.entries[index]
        image = read(entry.path)
        mask = self.read_mask(entry, (image.shape[0], image.shape[1]))
        return Sample(entry.sample_id, image, mask, entry.group, entry.path)

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> U8 | None:
        """Return the mask of an image, uint8 H x W, or None where it has no label."""
        raise NotImplementedError


def read(path: Path) -> U8:
    """Read an image of a data set; DataSetError where it cannot be."""
    try:
        return read_image(path)
    except ImageError as error:
        raise DataSetError(str(error)) from error


def read_binary_mask(path: Path, image: Path, size_hw: tuple[int, int]) -> U8:
    """Read a mask whose pixels above 127 are defects, as 0 and 1; grey edges of JPEG do not grow it.

    Raises
    ------
    DataSetError
        It cannot be read or has another size than its image.
    """
    return (read_grey_mask(path, image, size_hw) > GREY_EDGE).astype(np.uint8)


def read_grey_mask(path: Path, image: Path, size_hw: tuple[int, int]) -> U8:
    """Read a mask's values (of a colour file the largest channel); errors as :func:`read_binary_mask`."""
    mask = read(path)
    mask = mask if mask.ndim == 2 else mask.max(axis=2)
    if mask.shape != size_hw:
        raise DataSetError(
            f"{path} is {mask.shape[1]} x {mask.shape[0]} px, its image {image} {size_hw[1]} x {size_hw[0]}; "
            "label it again, or copy both again"
        )
    return mask


def images_below(folder: Path) -> list[Path]:
    """Return every image file below a folder, hidden ones left out, sorted."""
    return [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]


def need_folder(path: Path, hint: str) -> Path:
    """Return a folder of a published layout; DataSetError where it is missing."""
    if not path.is_dir():
        raise DataSetError(f"{path} does not exist; {hint}")
    return path


def refuse(faults: Sequence[str], advice: str) -> None:
    """Raise DataSetError where there are faults: the first ones in full, how many more, and what to do."""
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise DataSetError(f"{'; '.join(faults[:_NAMED])}{more}: {advice}", faults)


def fill(mask: U8, outline: npt.ArrayLike, value: int, where: str) -> None:
    """Fill a polygon N x 2 (x, y) in a mask, rounded to pixels; DataSetError for what is no polygon."""
    points = np.asarray(outline, np.float64)
    if points.ndim != 2 or points.shape[0] < 3 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise DataSetError(f"{where} has a polygon of shape {points.shape}; at least 3 points x 2 are needed")
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], (value,))


def own_split(entries: Sequence[Entry], split: str) -> list[Entry]:
    """Return the entries of train, val or all by whole groups, about a fifth of the images in val."""
    if split == "all":
        return list(entries)
    sizes: dict[str, int] = {}
    for entry in entries:
        sizes[entry.group] = sizes.get(entry.group, 0) + 1
    held_out = validation_groups(sizes, VALIDATION_SHARE)
    return [e for e in entries if (e.group in held_out) == (split == "val")]


def split_by_folder(path: Path, split: str) -> tuple[list[Path], bool]:
    """Return the folders to read for a split, and whether the data set is divided into train/, val/ and test/ itself.

    Raises
    ------
    DataSetError
        It is, but not into this split; or it is not, and ``test`` is asked for.
    """
    own = {s: path / s for s in ("train", "val", "test") if (path / s).is_dir()}
    if not own:
        if split == "test":
            raise DataSetError(f"{path} has no test/ folder; use --split all, or put the test images into test/")
        return [path], False
    if split != "all" and split not in own:
        raise DataSetError(f"{path} has the splits {', '.join(own)}, not {split}")
    return [root for s, root in own.items() if split in (s, "all")], True
