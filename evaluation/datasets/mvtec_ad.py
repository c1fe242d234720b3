"""MVTec AD: one category of objects or textures, with clean training images (Bergmann, Fauser, Sattlegger and Steger, 2019).

Layout as published, inside one category: ``train/good/000.png``, ``test/<kind>/000.png``, ``ground_truth/<kind>/000_mask.png``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import Entry, FileDataSet, files_matching, own_split, read_stated_mask, refuse
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.splits import check_split

_GOOD = "good"


class MVTecAD(FileDataSet):
    """One split of a category: official ``train`` (clean images only) and ``test``; ``val`` is about a fifth of train.

    Parameters
    ----------
    option
        The category, where the path holds all of them; empty: the path is one.

    Raises
    ------
    DataSetError
        The category or a mask is missing, or a mask is empty.
    """

    info = DataSetInfo(
        kind="mvtec-ad",
        title="fifteen objects and textures",
        tasks=ALL_TASKS,
        labels="masks",
        training_defects=False,
        split="official test",
        source="Bergmann et al. 2019",
        licence="CC BY-NC-SA 4.0",
        option="category",
    )

    def __init__(self, path: Path, split: str, option: str = "") -> None:
        check_split(split)
        root = path / option if option else path
        if not (root / "train" / _GOOD).is_dir() or not (root / "test").is_dir():
            inside = sorted(p.name for p in path.glob("*") if (p / "train" / _GOOD).is_dir())
            hint = (
                f"write mvtec-ad:{inside[0]} for one of {', '.join(inside)}" if inside else "give a category's folder"
            )
            raise DataSetError(f"{root} holds no train/good/ and test/; {hint}")
        kinds = sorted(p.name for p in (root / "test").iterdir() if p.is_dir() and p.name != _GOOD)
        self.classes = tuple(kinds) or ("defect",)
        train = [_entry(root, i, (None, 0)) for i in files_matching(root / "train" / _GOOD, "*", (".png",))]
        test = [_entry(root, i, (None, 0)) for i in files_matching(root / "test" / _GOOD, "*", (".png",))]
        for value, kind in enumerate(kinds, 1):
            images = files_matching(root / "test" / kind, "*", (".png",))
            masks = {i: root / "ground_truth" / kind / f"{i.stem}_mask.png" for i in images}
            refuse([f"{i} has no mask {masks[i]}" for i in images if not masks[i].is_file()], "copy the data set again")
            test += [_entry(root, i, (masks[i], value)) for i in images]
        chosen = {"test": test, "all": [*train, *test]}
        super().__init__(chosen[split] if split in chosen else own_split(train, split))
        if not self.entries:
            raise DataSetError(f"{root} holds no *.png for split {split}; copy the data set again")

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
        file, value = entry.label
        return read_stated_mask(file, entry.path, size_hw, value)


def _entry(root: Path, image: Path, label: tuple[Path | None, int]) -> Entry:
    name = image.relative_to(root).as_posix()
    return Entry(name, image, name, label)
