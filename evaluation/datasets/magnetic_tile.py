"""Magnetic tile defects (Huang, Qiu, Guo and Yuan 2018, "Surface defect saliency of magnetic tile").

Layout as published: ``MT_<Type>/Imgs/exp<E>_num_<N>.jpg`` with the mask beside each image, same name, ``.png``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import Entry, FileDataSet, own_split, read_binary_mask, refuse
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.splits import check_split

_FOLDERS = {
    "blowhole": "MT_Blowhole",
    "break": "MT_Break",
    "crack": "MT_Crack",
    "fray": "MT_Fray",
    "uneven": "MT_Uneven",
}
_CLEAN = "MT_Free"
_NUMBER = re.compile(r"_num_(\d+)$")
_GAP = 1500


class MagneticTile(FileDataSet):
    """One split of the magnetic tile set; the authors publish none.

    Each tile was photographed with up to six exposures one after the other, under numbers close to each other: 222 of 230
    pairs of near-duplicates (thumbnails that correlate by more than 0.95) are less than 1500 apart. So a gap of more
    than 1500 begins a new group, and whole groups go to ``train`` or ``val``, about a fifth of the images to ``val``.
    ``test`` is refused.

    Mask pixels above 127 are defect: JPEG edges are grey, and counting them would nearly double the area. Four images of
    MT_Uneven have an empty mask and count as unlabelled.

    Raises
    ------
    DataSetError
        A folder or a mask is missing, a mask has another size, or a name has no number.
    """

    info = DataSetInfo(
        kind="magnetic-tile",
        title="magnetic tiles, five kinds",
        tasks=ALL_TASKS,
        labels="masks",
        training_defects=True,
        split="own train and val by tile",
        source="Huang et al. 2018",
        licence="not stated",
    )
    classes = tuple(_FOLDERS)

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        if split == "test":
            raise DataSetError("magnetic-tile has no official test split; use val (own split by whole tiles) or all")
        found: list[tuple[Path, int]] = []
        for value, folder in enumerate((_CLEAN, *_FOLDERS.values())):
            images = sorted((path / folder / "Imgs").glob("*.jpg"))
            if not images:
                raise DataSetError(
                    f"{path / folder / 'Imgs'} holds no *.jpg; give the folder that holds MT_Blowhole/ ..."
                )
            found += [(image, value) for image in images]
        refuse([f"{i} has no mask" for i, _ in found if not i.with_suffix(".png").is_file()], "copy the data set again")
        groups = _groups([image for image, _ in found])
        entries = [Entry(i.relative_to(path).as_posix(), i, groups[i], value) for i, value in found]
        super().__init__(own_split(entries, split))

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
        file = entry.path.with_suffix(".png")
        mask = read_binary_mask(file, entry.path, size_hw)
        if mask.any() and not entry.label:
            raise DataSetError(f"{file} marks a defect, though {entry.path} is in {_CLEAN}; copy both again")
        return None if entry.label and not mask.any() else np.asarray(mask * np.uint8(entry.label), np.uint8)


def _groups(images: list[Path]) -> dict[Path, str]:
    numbers = {}
    for image in images:
        match = _NUMBER.search(image.stem)
        if match is None:
            raise DataSetError(f"{image} is not named exp<E>_num_<N>.jpg, so it cannot be grouped by tile; rename it")
        numbers[image] = int(match[1])
    groups: dict[Path, str] = {}
    first = last = -_GAP
    for image in sorted(images, key=lambda i: (numbers[i], i)):
        if numbers[image] - last > _GAP:
            first = numbers[image]
        groups[image], last = f"tiles-{first}", numbers[image]
    return groups
