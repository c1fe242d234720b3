"""The two sides of a training run: what is learned from, and what tells good weights from bad ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import TrainingError
from jetspect.evaluation.datasets import DataSet, open_dataset
from jetspect.evaluation.datasets.leaks import refuse_leaks
from jetspect.evaluation.datasets.one_class import OneClass
from jetspect.evaluation.foreground import PartMasks
from jetspect.training.config import DataSettings

U8 = npt.NDArray[np.uint8]


def open_sides(settings: DataSettings, path: Path | None) -> tuple[DataSet, DataSet]:
    """Open what to learn from and what to be judged on, as the training file wants to see them.

    Raises
    ------
    DataSetError
        The data set is incomplete, cannot support training, or an image stands on both sides.
    TrainingError
        The sides name other classes.
    """
    sides = {split: open_dataset(settings.dataset, path, split, protocol="train") for split in ("train", "val")}
    refuse_leaks(sides)
    if sides["train"].classes != sides["val"].classes:
        named = ", ".join(sides["train"].classes), ", ".join(sides["val"].classes)
        raise TrainingError(
            f"train has the classes {named[0]}, val has {named[1]}; both must name the same ones in the same order "
            "(labelme and folders: in classes.txt)"
        )
    train, val = (_seen_as(data, settings) for data in sides.values())
    return train, val


def _seen_as(data: DataSet, settings: DataSettings) -> DataSet:
    if settings.one_class is not None:
        data = OneClass(data, settings.one_class)
    return data if settings.part_scale is None else PartMasks(data, settings.part_scale)


def need_defects(validation: Sequence[tuple[U8, U8]], val: DataSet) -> None:
    """Raise TrainingError where no validation mask marks a defect."""
    if not any(mask.any() for _, mask in validation):
        raise TrainingError(
            f"none of {len(validation)} labelled validation images has a defect ({', '.join(val.ids[:3])}, ...), so nothing "
            "could tell good weights from bad ones; move some over, or look with jetspect data check"
        )
