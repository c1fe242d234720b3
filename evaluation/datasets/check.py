"""What is in a data set, and what is wrong with it, before anything is learned from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet, Sample
from jetspect.evaluation.datasets.leaks import find_leaks
from jetspect.evaluation.datasets.registry import find_kind, open_dataset

_SPLITS = ("train", "val", "test")


@dataclass
class SplitCount:
    """Images of one split: with a defect, without one, and without a label."""

    images: int = 0
    defective: int = 0
    clean: int = 0
    unlabelled: int = 0


@dataclass
class ClassCount:
    """Images that show a class, and the area in px of each of its defects (connected components)."""

    images: int = 0
    areas_px: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class DataCheck:
    """What a data set holds.

    Attributes
    ----------
    sizes
        Images per (width, height).
    examples
        Places in the split ``all`` that show every class and clean images in turn.
    notes
        Splits that cannot be opened, with the reason.
    problems
        One line for each fault, with the name of its file; empty: the set can be used.
    """

    dataset: str
    splits: dict[str, SplitCount]
    classes: dict[str, ClassCount]
    sizes: dict[tuple[int, int], int]
    examples: tuple[int, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def check_dataset(
    kind: str, path: Path | None, *, examples: int = 24, on_image: Callable[[int, int], None] = lambda *_: None
) -> DataCheck:
    """Read every image and label of a data set once.

    Parameters
    ----------
    kind, path
        As for :func:`open_dataset`.
    on_image
        Called with (done, total).

    Raises
    ------
    DataSetError
        The kind is not known or the path is no folder. Faults inside the data set are returned, not raised.
    """
    find_kind(kind, path)
    try:
        every = open_dataset(kind, path, "all")
    except DataSetError as error:
        return DataCheck(kind, {}, {}, {}, (), (), error.faults)
    sides, notes = _sides(kind, path)
    places = {sample_id: split for split, data in sides.items() for sample_id in data.ids}
    splits = {split: SplitCount() for split in (*sides, *(["in no split"] if set(every.ids) - set(places) else []))}
    classes = {name: ClassCount() for name in every.classes}
    sizes: Counter[tuple[int, int]] = Counter()
    buckets: dict[str, list[int]] = {name: [] for name in (*every.classes, "clean")}
    problems: list[str] = []
    for index, sample_id in enumerate(every.ids):
        count = splits[places.get(sample_id, "in no split")]
        count.images += 1
        try:
            sample = every[index]
        except DataSetError as error:
            problems += error.faults
        else:
            sizes[sample.image.shape[1], sample.image.shape[0]] += 1
            for name in _count(sample, count, classes):
                buckets[name].append(index)
        on_image(index + 1, len(every))
    test = {"test": sides.pop("test")} if "test" in sides else {}
    problems += find_leaks(sides)
    if shared := [line for split, data in sides.items() for line in find_leaks({split: data, **test})]:
        # The authors' split is what it is; numbers on it must be read with that in mind.
        notes = (*notes, f"{len(shared)} times test is not independent of what is learned from, the first: {shared[0]}")
    labelled = sum(c.defective + c.clean for c in splits.values())
    if labelled and not any(c.defective for c in splits.values()):
        problems.append(
            f"none of {labelled} labels in {path or kind} marks a defect; masks are white where it is, or hold class "
            "numbers that classes.txt names"
        )
    return DataCheck(kind, splits, classes, dict(sizes), _in_turn(buckets, examples), notes, tuple(problems))


def _sides(kind: str, path: Path | None) -> tuple[dict[str, DataSet], tuple[str, ...]]:
    sides: dict[str, DataSet] = {}
    notes = []
    for split in _SPLITS:
        try:
            sides[split] = open_dataset(kind, path, split)
        except DataSetError as error:
            notes.append(f"{split}: {error}")
    return sides, tuple(notes)


def _count(sample: Sample, count: SplitCount, classes: dict[str, ClassCount]) -> list[str]:
    """Count one image; return the classes it shows, or ``clean``, or nothing where it has no label."""
    if sample.mask is None:
        count.unlabelled += 1
        return []
    if not sample.mask.any():
        count.clean += 1
        return ["clean"]
    count.defective += 1
    shown = []
    for value, (name, found) in enumerate(classes.items(), 1):
        part = (sample.mask == value).astype(np.uint8)
        if part.any():
            shown.append(name)
            found.images += 1
            _, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
            found.areas_px += [int(area) for area in stats[1:, cv2.CC_STAT_AREA]]
    return shown


def _in_turn(buckets: dict[str, list[int]], count: int) -> tuple[int, ...]:
    """Choose places from each bucket in turn, spread over it."""
    queues = [[b[i * len(b) // count] for i in range(count)] if len(b) > count else b for b in buckets.values()]
    chosen: dict[int, None] = {}
    for rank in range(count):
        for queue in queues:
            if rank < len(queue) and len(chosen) < count:
                chosen[queue[rank]] = None
    return tuple(chosen)
