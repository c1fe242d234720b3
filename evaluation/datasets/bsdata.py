"""BSData: pitting on ball screw drives (Schlagenhauf, Landwehr, Fleischer, KIT, 2021; CC BY-SA 4.0).

Layout as published: ``data/*.jpg``, ``label/*.json`` (labelme polygons) and ``image_data.json`` with the official split
and, per image, the images of the same wear sequence (``wear_dev``).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import DAMAGED, VALIDATION_SHARE, Entry, FileDataSet
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.labelme import draw_shape, shapes_for
from jetspect.evaluation.datasets.splits import check_split, connected_groups, validation_groups

_STEM = re.compile(r"_crop(_\d+)?(\.jpg)?$")


class BSData(FileDataSet):
    """One split of BSData.

    ``test`` is the official test split. ``train`` and ``val`` share the official train split: whole wear sequences go to
    one side, about a fifth of the images to ``val``. The official splits do not: most wear sequences have images in both, so
    numbers on ``test`` are not independent of training. Images without a label are left out of every split, since the
    authors do not promise that they are free of pitting.

    Raises
    ------
    DataSetError
        A file of the layout is missing or damaged, or the split has no image here.
    """

    info = DataSetInfo(
        kind="bsdata",
        title="ball screw drives, pitting",
        tasks=ALL_TASKS,
        labels="polygons",
        training_defects=True,
        split="official test, own val",
        source="Schlagenhauf, Landwehr and Fleischer 2021",
        licence="CC BY-SA 4.0",
    )
    classes = ("pitting",)

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        entries = [e for e in _index(path) if e.get("annotations")]
        groups = connected_groups(
            (_stem(e["filename"]) for e in entries),
            ([_stem(name) for name in (e["filename"], *e.get("wear_dev", ()))] for e in entries),
        )
        self._group = {e["filename"]: groups[_stem(e["filename"])] for e in entries}
        sides = self._sides(entries)
        chosen = [e["filename"] for e in entries if split == "all" or sides[e["filename"]] == split]
        there = [name for name in chosen if (path / "data" / name).is_file()]
        super().__init__(
            Entry(name, path / "data" / name, self._group[name], path / "label" / f"{Path(name).stem}.json")
            for name in there
        )
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

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
        mask = np.zeros(size_hw, np.uint8)
        for _, kind, points in shapes_for(entry.label, size_hw):
            draw_shape(mask, kind, points, 1, f"label {entry.label}")
        return mask

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
            names = [entry["filename"], *entry.get("wear_dev", ())]
            if "train_test_split" not in entry or not all(isinstance(name, str) for name in names):
                raise ValueError(f"entry {entry} needs filename, train_test_split and names in wear_dev")
    except OSError as error:
        raise DataSetError(
            f"{index} cannot be read: {error.strerror}; give the folder that holds data/ and label/"
        ) from error
    except DAMAGED as error:
        raise DataSetError(f"{index} is not BSData's index ({error}); copy it again") from error
    return list(images)


def _stem(name: str) -> str:
    return _STEM.sub("", name)
