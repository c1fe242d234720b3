"""Severstal steel sheets: four kinds of defects, as run lengths (Kaggle, 2019).

Layout as published: ``train_images/*.jpg`` and ``train.csv`` with ImageId, ClassId, EncodedPixels, or in the first edition with
ImageId_ClassId, EncodedPixels.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import Entry, FileDataSet, images_below, need_folder, own_split, refuse
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.rle import decode_pairs
from jetspect.evaluation.datasets.splits import check_split

Runs = tuple[tuple[int, str], ...]


class Severstal(FileDataSet):
    """One split of Severstal's training images; the test images have no public labels, so ``test`` is refused.

    ``val`` is about a fifth of the images, by a hash of the name. An image without a row is clean. Where two kinds overlap, the
    higher number is on top.

    Raises
    ------
    DataSetError
        A file is missing or damaged, a row names an image that is not there or an unknown class.
    """

    info = DataSetInfo(
        kind="severstal",
        title="steel sheets, four kinds",
        tasks=ALL_TASKS,
        labels="run lengths",
        training_defects=True,
        split="own train and val",
        source="Kaggle 2019",
        licence="competition rules",
    )
    classes = ("class-1", "class-2", "class-3", "class-4")

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        if split == "test":
            raise DataSetError("severstal's test images have no public labels; use val (own split) or all")
        folder = need_folder(path / "train_images", "give the folder that holds train_images/ and train.csv")
        images = {i.name: i for i in images_below(folder)}
        runs = _read_csv(path / "train.csv")
        refuse(
            [f"{path / 'train.csv'} names {n}" for n in sorted(set(runs) - set(images))],
            f"it is not in {folder}; copy it again",
        )
        if not images:
            raise DataSetError(f"{folder} holds no image; copy the data set again")
        super().__init__(own_split([Entry(n, i, n, tuple(runs.get(n, ()))) for n, i in sorted(images.items())], split))

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
        mask = np.zeros(size_hw, np.uint8)
        for value, runs in sorted(entry.label):
            part = decode_pairs(runs, size_hw, f"train.csv, {entry.sample_id}, class {value}")
            mask[part > 0] = value
        return mask


def _read_csv(path: Path) -> dict[str, list[tuple[int, str]]]:
    found: dict[str, list[tuple[int, str]]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            for row in rows:
                joined = row.get("ImageId_ClassId")
                image, number = joined.rsplit("_", 1) if joined else (row["ImageId"], row["ClassId"])
                if not number.isdecimal() or not 1 <= int(number) <= len(Severstal.classes):
                    raise DataSetError(f"{path}, line {rows.line_num}: class {number!r}; there are 1 to 4")
                if row["EncodedPixels"].strip():
                    found.setdefault(image, []).append((int(number), row["EncodedPixels"]))
    except OSError as error:
        raise DataSetError(f"{path} cannot be read: {error.strerror}; give the folder that holds train.csv") from error
    except (KeyError, ValueError, AttributeError, csv.Error, UnicodeDecodeError) as error:
        raise DataSetError(f"{path} is not Severstal's csv ({type(error).__name__}: {error}); copy it again") from error
    return found
