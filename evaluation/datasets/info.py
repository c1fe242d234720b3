"""What is known about each data set, and what its labels allow: the review's table as data that the code uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jetspect.errors import DataSetError

Task = Literal["detection", "classification", "segmentation"]
Labels = Literal["masks", "polygons", "run lengths", "ellipses", "boxes", "rendered"]
Protocol = Literal["train", "evaluate"]
ALL_TASKS: tuple[Task, ...] = ("detection", "classification", "segmentation")


@dataclass(frozen=True)
class DataSetInfo:
    """One row of the table.

    Attributes
    ----------
    tasks
        What the labels support.
    labels
        How defects are marked.
    training_defects
        Whether the training split shows defects; without them only methods of clean images can learn.
    option
        What may follow the kind after a colon; empty: nothing.
    split
        Where train, val and test come from.
    """

    kind: str
    title: str
    tasks: tuple[Task, ...]
    labels: Labels
    training_defects: bool
    split: str
    source: str
    licence: str
    option: str = ""


def require(info: DataSetInfo, protocol: Protocol, *, option: str = "") -> None:
    """Refuse what a data set cannot support.

    Raises
    ------
    DataSetError
        Its labels do not outline defects, or its training images show none; says why and what to use instead.
    """
    if "segmentation" not in info.tasks and option != "boxes-as-masks":
        raise DataSetError(
            f"data set {info.kind} marks defects with {info.labels}, which do not outline them: every pixel in the corner of "
            f"a box would count as defect. Use a set with masks, or say {info.kind}:boxes-as-masks to accept that"
        )
    if protocol == "train" and not info.training_defects:
        raise DataSetError(
            f"data set {info.kind} has no defect in its training images, and every model here learns from defects; train on "
            "another set, and evaluate on this one's test split"
        )
