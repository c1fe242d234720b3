"""Any folder with ``images/`` and ``masks/``, or with masks beside the images (same name, ``.png``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import (
    Entry,
    FileDataSet,
    images_below,
    own_split,
    read_binary_mask,
    read_numbered_mask,
    read_text,
    refuse,
    split_by_folder,
    with_suffix,
)
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.splits import check_split

CLASSES = "classes.txt"


class MaskFolder(FileDataSet):
    """Images with one mask each: a mask pixel above 127 is a defect, so that grey JPEG edges do not grow it.

    With a file ``classes.txt`` (one name per line) masks hold numbers instead: 0 background, k the k-th name.

    An own split stands in ``train/``, ``val/`` and ``test/`` sub-folders; without them ``train`` and ``val`` are
    divided by a hash of the file name and ``test`` is refused.

    Raises
    ------
    DataSetError
        An image has no mask, a mask has another size or a number without a name, or the split has no image.
    """

    info = DataSetInfo(
        kind="folder",
        title="any folder of images and masks",
        tasks=ALL_TASKS,
        labels="masks",
        training_defects=True,
        split="own folders, or own train and val",
        source="",
        licence="",
    )

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        names = read_classes(path)
        self.classes = names or ("defect",)
        self._numbered = bool(names)
        roots, divided = split_by_folder(path, split)
        pairs = [pair for root in roots for pair in _pairs(root)]
        # Images of one name (a.jpg, a.png) are one part.
        entries = [
            Entry(i.relative_to(path).as_posix(), i, str(i.relative_to(path).with_suffix("")), m) for i, m in pairs
        ]
        super().__init__(entries if divided else own_split(entries, split))
        if not self.entries:
            raise DataSetError(f"{path} holds no image with a mask for split {split}")

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
        if not self._numbered:
            return read_binary_mask(entry.label, entry.path, size_hw)
        return read_numbered_mask(entry.label, entry.path, size_hw, self.classes)


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names in ``classes.txt``, in their order; none where there is no such file.

    Raises
    ------
    DataSetError
        It cannot be read, is empty, or holds a name twice.
    """
    file = path / CLASSES
    if not file.is_file():
        return ()
    names = tuple(line.strip() for line in read_text(file).splitlines() if line.strip())
    if not names or len(set(names)) != len(names):
        raise DataSetError(f"{file} must hold every class once, one name per line; got {', '.join(names) or 'nothing'}")
    return names


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    apart = (root / "images").is_dir()
    images, masks = (root / "images", root / "masks") if apart else (root, root)
    pairs, faults = [], []
    for path in images_below(images):
        if not apart and path.suffix.lower() == ".png":
            continue  # a mask
        candidates = [with_suffix(masks / path.relative_to(images), s) for s in (".png", path.suffix)]
        mask = next((c for c in candidates if c.is_file() and c != path), None)
        if mask is None:
            faults.append(f"{path} has no mask; expected {candidates[0]}")
        else:
            pairs.append((path, mask))
    refuse(faults, "draw one, white where the defect is and black elsewhere")
    if apart:
        strangers = sorted(set(images_below(masks)) - {mask for _, mask in pairs})
        refuse([f"mask {mask} belongs to no image" for mask in strangers], "copy the image, or remove the mask")
    return pairs
