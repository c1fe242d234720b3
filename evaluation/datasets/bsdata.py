"""BSData: pitting on ball screw drives (Schlagenhauf, Landwehr, Fleischer, KIT, 2021; CC BY-SA 4.0).

Layout as published: ``data/*.jpg``, ``label/*.json`` (labelme polygons) and ``image_data.json`` with the official split
and, per image, the images of the same wear sequence (``wear_dev``).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError, ImageError
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.datasets.splits import check_split, connected_groups, validation_groups
from jetspect.runtime.images import read_image

VALIDATION_SHARE = 0.2
_STEM = re.compile(r"_crop(_\d+)?(\.jpg)?$")


class BSData:
    """One split of BSData.

    ``test`` is the official test split. ``train`` and ``val`` share the official train split: whole wear sequences go to
    one side, about a fifth of the images to ``val``. Images without a label are left out of every split, since the
    authors do not promise that they are free of pitting.

    Raises
    ------
    DataSetError
        A file of the layout is missing or damaged, or the split has no image here.
    """

    name = "bsdata"
    classes = ("pitting",)

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        self._path = path
        entries = [e for e in _index(path) if e.get("annotations")]
        groups = connected_groups(
            (_stem(e["filename"]) for e in entries),
            ([_stem(name) for name in (e["filename"], *e.get("wear_dev", ()))] for e in entries),
        )
        self._group = {e["filename"]: groups[_stem(e["filename"])] for e in entries}
        sides = self._sides(entries)
        chosen = [e["filename"] for e in entries if split == "all" or sides[e["filename"]] == split]
        self.ids: tuple[str, ...] = tuple(sorted(n for n in chosen if (path / "data" / n).is_file()))
        if not self.ids:
            official = "test" if split == "test" else "train"
            raise DataSetError(
                f"{path}/data holds no image of BSData's official {official} split; get the full data set"
            )
        if len(self.ids) != len(chosen):
            absent = sorted(set(chosen) - set(self.ids))
            raise DataSetError(
                f"{path}/data lacks {absent[0]} and {len(absent) - 1} more of split {split}; copy it again"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        name = self.ids[index]
        path = self._path / "data" / name
        try:
            image = read_image(path)
        except ImageError as error:
            raise DataSetError(str(error)) from error
        mask = _read_polygons(self._path / "label" / f"{path.stem}.json", (image.shape[0], image.shape[1]))
        return Sample(name, image, mask, self._group[name], path)

    def _sides(self, entries: list[dict[str, Any]]) -> dict[str, str]:
        official = {e["filename"]: e["train_test_split"] for e in entries}
        sizes: dict[str, int] = {}
        for name, side in official.items():
            if side == "train":
                sizes[self._group[name]] = sizes.get(self._group[name], 0) + 1
        held_out = validation_groups(sizes, VALIDATION_SHARE)
        return {
            name: "val" if side == "train" and self._group[name] in held_out else str(side)
            for name, side in official.items()
        }


def _index(path: Path) -> list[dict[str, Any]]:
    index = path / "image_data.json"
    try:
        images = json.loads(index.read_bytes())["images"]
        for entry in images:
            entry["filename"], entry["train_test_split"]  # both must be there
    except OSError as error:
        raise DataSetError(
            f"{index} cannot be read: {error.strerror}; give the folder that holds data/ and label/"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataSetError(f"{index} is not BSData's index ({error}); copy it again") from error
    return list(images)


def _read_polygons(path: Path, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    try:
        label = json.loads(path.read_bytes())
        stated = label["imageHeight"], label["imageWidth"]
        polygons = [np.asarray(s["points"], np.float64) for s in label["shapes"]]
    except OSError as error:
        raise DataSetError(f"label {path} cannot be read: {error.strerror}; copy it again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataSetError(f"label {path} is not a labelme file ({error}); copy it again") from error
    if stated != size_hw:
        raise DataSetError(
            f"label {path} is for {stated[1]} x {stated[0]} px, the image is {size_hw[1]} x {size_hw[0]}"
        )
    mask = np.zeros(size_hw, np.uint8)
    for points in polygons:
        if points.ndim != 2 or points.shape[0] < 3 or points.shape[1] != 2:
            raise DataSetError(f"label {path} has a polygon of shape {points.shape}; at least 3 points x 2 are needed")
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], (1,))
    return mask


def _stem(name: str) -> str:
    return _STEM.sub("", name)
