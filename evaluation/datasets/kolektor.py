"""KolektorSDD: cracks in the plastic of electrical commutators (Tabernik, Sela, Skvarc and Skocaj, 2020), and KolektorSDD2
(Bozic, Tabernik and Skocaj, 2021): surfaces with several kinds of defects.

Layouts as published: ``kos01/Part0.jpg`` with ``kos01/Part0_label.bmp``; and ``train/10000.png`` with ``train/10000_GT.png``,
``test/`` alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import (
    Entry,
    FileDataSet,
    files_matching,
    need_folder,
    own_split,
    read_binary_mask,
    refuse,
)
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.splits import check_split

FOLDS = 3
_AGAIN = "copy the data set again"


class _Labelled(FileDataSet):
    """Both sets: a binary mask per image, black where there is no defect."""

    classes = ("defect",)

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
        return read_binary_mask(entry.label, entry.path, size_hw)


class KolektorSDD(_Labelled):
    """One split of KolektorSDD in one of three folds: ``test`` is a third of the items, ``train`` and ``val`` are the rest.

    All images of one item (``kosNN``) stay together, as in the paper (section 4). Its own folds are published as a pickle,
    which is not read here for safety; these go round the items in order, so numbers compare with the paper's as another
    cross-validation does.

    Parameters
    ----------
    option
        The fold, 0, 1 or 2; empty: 0.

    Raises
    ------
    DataSetError
        No item is there, an image has no label, or there is no such fold.
    """

    info = DataSetInfo(
        kind="kolektorsdd",
        title="commutators, cracks",
        tasks=ALL_TASKS,
        labels="masks",
        training_defects=True,
        split="three folds by item",
        source="Tabernik et al. 2020",
        licence="CC BY-NC-SA 4.0",
        option="fold 0, 1 or 2",
    )

    def __init__(self, path: Path, split: str, option: str = "") -> None:
        check_split(split)
        if option not in ("", "0", "1", "2"):
            raise DataSetError(
                f"kolektorsdd has the folds 0, 1 and 2, not {option!r}; write kolektorsdd:1 for the second"
            )
        images = sorted(path.glob("kos*/Part*.jpg"))
        if not images:
            raise DataSetError(f"{path} holds no kos*/Part*.jpg; give the folder that holds kos01/ ...")
        labels = {i: i.with_name(f"{i.stem}_label.bmp") for i in images}
        refuse([f"{i} has no label {labels[i].name}" for i in images if not labels[i].is_file()], _AGAIN)
        entries = [Entry(i.relative_to(path).as_posix(), i, i.parent.name, labels[i]) for i in images]
        items = sorted({e.group for e in entries})
        held_out = {item for n, item in enumerate(items) if n % FOLDS == int(option or 0)}
        if split == "test":
            chosen = [e for e in entries if e.group in held_out]
        else:
            rest = [e for e in entries if split == "all" or e.group not in held_out]
            chosen = own_split(rest, split)
        super().__init__(chosen)


class KolektorSDD2(_Labelled):
    """One split of KolektorSDD2: official ``train`` and ``test``; ``val`` is about a fifth of train, by a hash of the name.

    Raises
    ------
    DataSetError
        A folder is missing or empty, or an image has no label.
    """

    info = DataSetInfo(
        kind="kolektorsdd2",
        title="surfaces, several kinds",
        tasks=ALL_TASKS,
        labels="masks",
        training_defects=True,
        split="official test, own val",
        source="Bozic, Tabernik and Skocaj 2021",
        licence="CC BY-NC-SA 4.0",
    )

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        entries: list[Entry] = []
        for folder in ("train", "test"):
            if split not in ("all", folder) and not (split == "val" and folder == "train"):
                continue
            root = need_folder(path / folder, "give the folder that holds train/ and test/ of KolektorSDD2")
            # The published archive holds a stray "10301 (copy).png"; images are those with a number for a name.
            images = [i for i in files_matching(root, "*", (".png",)) if i.stem.isdecimal()]
            labels = {i: i.with_name(f"{i.stem}_GT.png") for i in images}
            refuse([f"{i} has no label {labels[i].name}" for i in images if not labels[i].is_file()], _AGAIN)
            own = [Entry(f"{folder}/{i.name}", i, f"{folder}/{i.stem}", labels[i]) for i in images]
            entries += own_split(own, split) if folder == "train" else own
        if not entries:
            raise DataSetError(f"{path} holds no *.png for split {split}; {_AGAIN}")
        super().__init__(entries)
