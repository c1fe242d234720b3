"""What readers of files on disk share: entries, images, masks, and errors that name files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
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
_FAR_PX = 1e6  # farther out is a fault, and no longer fits OpenCV's integers
_LOSSY = frozenset({".jpg", ".jpeg", ".webp"})
# What a label file of the right syntax and the wrong content raises.
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)


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


class FileDataSet(ABC):
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

    @abstractmethod
    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> U8 | None:
        """Return the mask of an image, uint8 H x W, or None where it has no label."""


def read(path: Path) -> U8:
    """Read an image of a data set.

    Raises
    ------
    DataSetError
        It cannot be read, or is turned by its EXIF orientation: tools label what they show, turned, but pixels are stored
        as the camera saw them.
    """
    try:
        image = read_image(path)
    except ImageError as error:
        raise DataSetError(str(error)) from error
    if path.suffix.lower() in (".jpg", ".jpeg") and _is_turned(path):
        raise DataSetError(
            f"{path} is turned by its EXIF orientation, so a label drawn on what a viewer shows does not fit its pixels; save "
            "it upright (mogrify -auto-orient), and look whether the label fits"
        )
    return image


def _is_turned(path: Path) -> bool:
    data = np.fromfile(path, np.uint8)
    if b"Exif" not in data[:65536].tobytes():
        return False
    small = cv2.IMREAD_REDUCED_COLOR_8
    shown, stored = (cv2.imdecode(data, flags) for flags in (small, small | cv2.IMREAD_IGNORE_ORIENTATION))
    return not np.array_equal(np.asarray(shown), np.asarray(stored))


def read_binary_mask(path: Path, image: Path, size_hw: tuple[int, int]) -> U8:
    """Read a mask whose pixels above 127 are defects, as 0 and 1; grey edges of JPEG do not grow it.

    Raises
    ------
    DataSetError
        It cannot be read, has another size than its image, or is no mask of black and white: it marks something, and
        nothing above 127.
    """
    mask = read_grey_mask(path, image, size_hw)
    highest = int(mask.max(initial=0))
    if 0 < highest <= GREY_EDGE and path.suffix.lower() not in _LOSSY:
        raise DataSetError(
            f"{path} holds values up to {highest}, a defect is white (above {GREY_EDGE}); save it black and white, or, if "
            "these are class numbers, name the classes in classes.txt (data set kind folder)"
        )
    return (mask > GREY_EDGE).astype(np.uint8)


def read_stated_mask(path: Path | None, image: Path, size_hw: tuple[int, int], value: int) -> U8:
    """Read the mask of an image whose class is known from where it lies; None: it is clean.

    Raises
    ------
    DataSetError
        As :func:`read_binary_mask`, or the mask marks nothing.
    """
    if path is None:
        return np.zeros(size_hw, np.uint8)
    mask = read_binary_mask(path, image, size_hw)
    if not mask.any():
        raise DataSetError(f"{path} is empty, though its image {image} is listed as defective; copy it again")
    return np.asarray(mask * np.uint8(value), np.uint8)


def read_numbered_mask(path: Path, image: Path, size_hw: tuple[int, int], classes: Sequence[str]) -> U8:
    """Read a mask whose values are class numbers, 0 the background.

    Raises
    ------
    DataSetError
        It cannot be read, has another size than its image, holds a number without a name, or is a file of a kind that does
        not keep numbers.
    """
    if path.suffix.lower() in _LOSSY:
        raise DataSetError(f"{path} is compressed with loss, which does not keep class numbers; save masks as PNG")
    pixels = read(path)
    if pixels.ndim == 3 and (pixels != pixels[:, :, :1]).any():
        raise DataSetError(f"{path} is a colour picture (or palette), not class numbers; save it as grey PNG")
    mask = read_grey_mask(path, image, size_hw)
    if (highest := int(mask.max(initial=0))) > len(classes):
        raise DataSetError(
            f"{path} holds the number {highest}, classes.txt names {len(classes)} classes ({', '.join(classes)}); "
            "add the class or label it again"
        )
    return mask


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
    return files_matching(folder, "**/*", SUFFIXES)


def files_matching(folder: Path, pattern: str, suffixes: Collection[str]) -> list[Path]:
    """Return files by a glob pattern and their suffix in any case, nothing hidden, sorted."""
    found = (p for p in folder.glob(pattern) if p.suffix.lower() in suffixes and not p.is_dir())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def with_suffix(path: Path, suffix: str) -> Path:
    """Return the file of another suffix beside a path, in capitals where only that is there."""
    capital = path.with_suffix(suffix.upper())
    return capital if capital.is_file() and not path.with_suffix(suffix).is_file() else path.with_suffix(suffix)


def read_text(path: Path) -> str:
    """Read a text file of labels, with or without a byte order mark; DataSetError where it cannot be."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataSetError(f"{path} cannot be read: {error.strerror}; copy it again") from error
    except UnicodeDecodeError as error:
        raise DataSetError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def need_folder(path: Path, hint: str) -> Path:
    """Return a folder of a published layout; DataSetError where it is missing."""
    if not path.is_dir():
        raise DataSetError(f"{path} does not exist; {hint}")
    return path


def refuse(faults: Sequence[str], advice: str) -> None:
    """Raise DataSetError where there are faults: the first ones in full, how many more, and what to do."""
    if faults:
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise DataSetError(f"{'; '.join(faults[:_NAMED])}{more}: {advice}", [f"{fault}: {advice}" for fault in faults])


def fill(mask: U8, outline: npt.ArrayLike, value: int, where: str) -> None:
    """Fill a polygon N x 2 (x, y) in a mask, its corners rounded to pixels and its outline included.

    That is what people see in labelling tools, and half a pixel more on each side than the area in COCO files.

    Raises
    ------
    DataSetError
        It is no polygon, or lies outside the image.
    """
    try:
        points = np.asarray(outline, np.float64)
    except (ValueError, TypeError) as error:
        raise DataSetError(f"{where} has a polygon whose points are not pairs of numbers; draw it again") from error
    if points.ndim != 2 or points.shape[0] < 3 or points.shape[1] != 2:
        raise DataSetError(f"{where} has a polygon of shape {points.shape}; at least 3 points x 2 are needed")
    check_inside(points, mask.shape, where)
    cv2.fillPoly(mask, [np.round(points).astype(np.int32)], (value,))


def check_inside(points: npt.NDArray[np.float64], size_hw: tuple[int, ...], where: str) -> None:
    """Refuse a shape that is not finite, unbelievably far out, or wholly outside its image."""
    if not np.isfinite(points).all() or np.abs(points).max() > _FAR_PX:
        raise DataSetError(f"{where} has a point that is not finite or beyond {_FAR_PX:.0f} px; draw it again")
    low, high = points.min(axis=0), points.max(axis=0)
    if high[0] < 0 or high[1] < 0 or low[0] >= size_hw[1] or low[1] >= size_hw[0]:
        raise DataSetError(
            f"{where} lies outside its image of {size_hw[1]} x {size_hw[0]} px; do label and image belong together?"
        )


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
    names = {p.name.lower(): p for p in sorted(path.iterdir()) if p.is_dir()}
    own = {s: names[s] for s in ("train", "val", "test") if s in names}
    if not own:
        if split == "test":
            raise DataSetError(f"{path} has no test/ folder; use --split all, or put the test images into test/")
        return [path], False
    if split != "all" and split not in own:
        raise DataSetError(f"{path} has the splits {', '.join(own)}, not {split}")
    return [root for s, root in own.items() if split in (s, "all")], True
