"""labelme: one JSON file of shapes per image (Russell, Torralba, Murphy and Freeman, 2008; the labelme tool).

Layout: JSON files beside the images (same name), or ``images/`` and ``labels/``; ``train/``, ``val/`` and ``test/``
sub-folders, or divided by a hash of the file name. ``classes.txt`` (one name per line) fixes the classes and their order.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import (
    DAMAGED,
    Entry,
    FileDataSet,
    check_inside,
    fill,
    images_below,
    own_split,
    refuse,
    split_by_folder,
)
from jetspect.evaluation.datasets.folder import CLASSES, read_classes
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.splits import check_split

U8 = npt.NDArray[np.uint8]
Shape = tuple[str, str, list[list[float]]]


class LabelMe(FileDataSet):
    """Images with polygons, rectangles and circles of several classes; a later shape is on top. No shapes: a clean image.

    Raises
    ------
    DataSetError
        An image has no label file, a file is damaged or of another size, or a shape has an unknown class or kind.
    """

    info = DataSetInfo(
        kind="labelme",
        title="any folder of labelme files",
        tasks=ALL_TASKS,
        labels="polygons",
        training_defects=True,
        split="own folders, or own train and val",
        source="",
        licence="",
    )

    def __init__(self, path: Path, split: str) -> None:
        check_split(split)
        roots, divided = split_by_folder(path, split)
        pairs = [pair for root in roots for pair in _pairs(root)]
        entries = [
            Entry(i.relative_to(path).as_posix(), i, i.relative_to(path).as_posix(), label) for i, label in pairs
        ]
        # Classes must not depend on the split, so that train and val number them alike.
        every, _ = split_by_folder(path, "all")
        self.classes = read_classes(path) or _labels([label for root in every for _, label in _pairs(root)])
        super().__init__(entries if divided else own_split(entries, split))
        if not self.entries:
            raise DataSetError(f"{path} holds no labelled image for split {split}")

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> U8:
        shapes = shapes_for(entry.label, size_hw)
        mask = np.zeros(size_hw, np.uint8)
        for name, kind, points in shapes:
            if name not in self.classes:
                raise DataSetError(
                    f"{entry.label} names the class {name!r}; {CLASSES} has {', '.join(self.classes)}: add or rename it"
                )
            draw_shape(mask, kind, points, self.classes.index(name) + 1, f"label {entry.label}")
        return mask


def read_shapes(path: Path) -> tuple[tuple[int, int], list[Shape]]:
    """Return height and width, and every shape's class, kind and points. Raises DataSetError for a damaged file."""
    try:
        label = json.loads(path.read_bytes())
        shapes = [
            (str(s.get("label", "")), str(s.get("shape_type") or "polygon"), list(s["points"])) for s in label["shapes"]
        ]
        if any(s.get("label", "") is None for s in label["shapes"]):
            raise ValueError("a shape has no label")
        return (int(label["imageHeight"]), int(label["imageWidth"])), shapes
    except OSError as error:
        raise DataSetError(f"label {path} cannot be read: {error.strerror}; copy it again") from error
    except DAMAGED as error:
        raise DataSetError(f"label {path} is not a labelme file ({error}); copy it again") from error


def shapes_for(path: Path, size_hw: tuple[int, int]) -> list[Shape]:
    """Return the shapes of a label that is for an image of this size; DataSetError where it is for another."""
    stated, shapes = read_shapes(path)
    if stated != size_hw:
        raise DataSetError(
            f"label {path} is for {stated[1]} x {stated[0]} px, the image is {size_hw[1]} x {size_hw[0]}; label it again"
        )
    return shapes


def draw_shape(mask: U8, kind: str, points: list[list[float]], value: int, where: str) -> None:
    """Fill one shape in a mask. Raises DataSetError for a kind without an area."""
    if kind == "polygon":
        fill(mask, points, value, where)
    elif kind in ("rectangle", "circle") and len(points) == 2:
        try:
            (x, y), (u, v) = ((float(a), float(b)) for a, b in points)
        except (ValueError, TypeError) as error:
            raise DataSetError(f"{where} has a {kind} whose points are not pairs of numbers; draw it again") from error
        if kind == "rectangle":
            fill(mask, [(x, y), (u, y), (u, v), (x, v)], value, where)
        else:  # centre and a point of the rim
            radius = float(np.hypot(u - x, v - y))
            check_inside(np.array([(x - radius, y - radius), (x + radius, y + radius)]), mask.shape, where)
            cv2.circle(mask, (round(x), round(y)), round(radius), (value,), cv2.FILLED)
    else:
        raise DataSetError(
            f"{where} has a {kind} of {len(points)} points; use polygons, rectangles and circles, which have an area"
        )


def _pairs(root: Path) -> list[tuple[Path, Path]]:
    apart = (root / "images").is_dir()
    images, labels = (root / "images", root / "labels") if apart else (root, root)
    pairs = [(i, labels / i.relative_to(images).with_suffix(".json")) for i in images_below(images)]
    missing = [f"{i} has no label file {label}" for i, label in pairs if not label.is_file()]
    refuse(missing, "save it in labelme, without shapes where the part is clean")
    return pairs


def _labels(files: list[Path]) -> tuple[str, ...]:
    names = sorted({name for file in files for name, _, _ in read_shapes(file)[1]})
    return tuple(names) or ("defect",)
