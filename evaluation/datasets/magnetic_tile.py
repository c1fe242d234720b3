"""Magnetic tile defects (Huang, Qiu, Guo and Yuan 2018, "Surface defect saliency of magnetic tile").

Layout as published: ``MT_<Type>/Imgs/exp<E>_num_<N>.jpg`` with the mask beside each image, same name, ``.png``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from jetspect.errors import DataSetError, ImageError
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.datasets.splits import check_split, validation_groups
from jetspect.runtime.images import read_image

VALIDATION_SHARE = 0.2
_FOLDERS = {
    "blowhole": "MT_Blowhole",
    "break": "MT_Break",
    "crack": "MT_Crack",
    "fray": "MT_Fray",
    "uneven": "MT_Uneven",
}
_CLEAN = "MT_Free"
_NUMBER = re.compile(r"_num_(\d+)$")
_GREY_EDGE = 127
_GAP = 1500


class MagneticTile:
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

    name = "magnetic-tile"
    classes = tuple(_FOLDERS)

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        if split == "test":
            raise DataSetError("magnetic-tile has no official test split; use val (own split by whole tiles) or all")
        self._path = path
        found: list[tuple[Path, int]] = []
        for value, folder in enumerate((_CLEAN, *_FOLDERS.values())):
            images = sorted((path / folder / "Imgs").glob("*.jpg"))
            if not images:
                raise DataSetError(
                    f"{path / folder / 'Imgs'} holds no *.jpg; give the folder that holds MT_Blowhole/ ..."
                )
            found += [(image, value) for image in images]
        groups = _groups([image for image, _ in found])
        sizes: dict[str, int] = {}
        for image, _ in found:
            sizes[groups[image]] = sizes.get(groups[image], 0) + 1
        held_out = validation_groups(sizes, VALIDATION_SHARE)
        self._entries = sorted(
            (image, value, groups[image])
            for image, value in found
            if split == "all" or (groups[image] in held_out) == (split == "val")
        )
        self.ids: tuple[str, ...] = tuple(image.relative_to(path).as_posix() for image, _, _ in self._entries)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        path, value, group = self._entries[index]
        try:
            image, mask = read_image(path), read_image(path.with_suffix(".png"))
        except ImageError as error:
            raise DataSetError(str(error)) from error
        mask = mask if mask.ndim == 2 else mask.max(axis=2)
        if mask.shape != image.shape[:2]:
            raise DataSetError(
                f"{path.with_suffix('.png')} is {mask.shape[1]} x {mask.shape[0]} px, its image {image.shape[1]} x "
                f"{image.shape[0]}; copy both again"
            )
        label = (mask > _GREY_EDGE).astype(np.uint8) * np.uint8(value)
        unlabelled = value > 0 and not label.any()
        return Sample(self.ids[index], image, None if unlabelled else label, group, path)


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
