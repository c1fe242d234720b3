"""DAGM 2007: rendered textures with one kind of defect each, marked by ellipses (Wieler and Hahn, 2007).

Layout as published: ``Class1/Train/0576.PNG`` with ``Class1/Train/Label/0576_label.PNG`` where there is a defect,
``Test/`` alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import Entry, FileDataSet, files_matching, own_split, read_stated_mask, refuse
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.splits import check_split

COUNT = 10


class DAGM(FileDataSet):
    """One split of DAGM 2007: official ``train`` and ``test``; ``val`` is about a fifth of train, by a hash of the name.

    Masks are the authors' ellipses, larger than the defects: IoU against them says how well an ellipse is
    met, not an outline. An image without a label file is clean; ``Labels.txt``, where it is there, must say the same.

    Parameters
    ----------
    option
        One texture, 1 to 10; empty: every one that is there, each as a class of its own.

    Raises
    ------
    DataSetError
        A texture or a label is missing, or a label is empty.
    """

    info = DataSetInfo(
        kind="dagm",
        title="ten rendered textures",
        tasks=ALL_TASKS,
        labels="ellipses",
        training_defects=True,
        split="official test, own val",
        source="Wieler and Hahn 2007",
        licence="CDLA-Sharing 1.0",
        option="texture 1 to 10",
    )

    def __init__(self, path: Path, split: str, option: str = "") -> None:
        check_split(split)
        numbers = _textures(path, option)
        self.classes = tuple(f"texture-{n}" for n in numbers)
        entries: list[Entry] = []
        for value, number in enumerate(numbers, 1):
            for folder in ("Train", "Test"):
                if split in ("all", folder.lower()) or (split == "val" and folder == "Train"):
                    own = _read_folder(path, path / f"Class{number}" / folder, value)
                    entries += own if split in ("all", "test") else own_split(own, split)
        super().__init__(entries)

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
        label, value = entry.label
        return read_stated_mask(label, entry.path, size_hw, value)


def _textures(path: Path, option: str) -> list[int]:
    there = [n for n in range(1, COUNT + 1) if (path / f"Class{n}").is_dir()]
    if not there:
        raise DataSetError(f"{path} holds no Class1/ ... Class{COUNT}/; give the folder that holds them")
    if not option:
        return there
    if not option.isdecimal() or int(option) not in there:
        raise DataSetError(f"dagm has no texture {option!r} in {path}, it has {', '.join(map(str, there))}")
    return [int(option)]


def _read_folder(path: Path, folder: Path, value: int) -> list[Entry]:
    images = files_matching(folder, "*", (".png",))
    if not images:
        raise DataSetError(f"{folder} holds no *.PNG; copy the data set again")
    labels = {p.stem.lower().removesuffix("_label"): p for p in files_matching(folder / "Label", "*", (".png",))}
    strangers = sorted(set(labels) - {i.stem.lower() for i in images})
    refuse([f"{labels[s]} belongs to no image" for s in strangers], "copy the data set again")
    listed = _listed(folder / "Label" / "Labels.txt")
    refuse(
        [f"{i} is listed as defective and has no label" for i in images if i.stem.lower() in listed - set(labels)],
        "copy the data set again",
    )
    return [
        Entry(i.relative_to(path).as_posix(), i, i.relative_to(path).as_posix(), (labels.get(i.stem.lower()), value))
        for i in images
    ]


def _listed(file: Path) -> set[str]:
    """Return the images that ``Labels.txt`` gives a label: its lines end with the name of the label's file, or with 0."""
    if not file.is_file():
        return set()
    names = (line.split()[-1].lower() for line in file.read_text(errors="replace").splitlines() if line.strip())
    return {name.rpartition(".")[0].removesuffix("_label") for name in names if name.endswith("_label.png")}
