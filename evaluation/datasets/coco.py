"""COCO: polygons and run lengths in one JSON file per split, as most labelling tools export them (Lin et al., 2014).

Layouts: ``annotations/instances_train.json`` with images in ``train/`` (or ``images/``), ``val`` and ``test`` alike, also
with years as in ``train2017``; ``train/_annotations.coco.json`` beside its images, ``valid/`` and ``test/`` alike; or one
``annotations.json`` with ``images/``, divided by a hash of the file name.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import DAMAGED, Entry, FileDataSet, check_inside, fill, own_split, refuse
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.rle import decode_counts
from jetspect.evaluation.datasets.splits import check_split

U8 = npt.NDArray[np.uint8]
BOXES_AS_MASKS = "boxes-as-masks"
_VALID = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class COCO(FileDataSet):
    """Images with outlines of several classes; where two overlap, the later one is on top. An image without outline is clean.

    Parameters
    ----------
    option
        ``boxes-as-masks`` fills the box of what has no outline; empty: such an annotation is refused.

    Raises
    ------
    DataSetError
        A file is missing or damaged, an annotation names an unknown class or image, or the split has no image.
    """

    info = DataSetInfo(
        kind="coco",
        title="any set in COCO JSON",
        tasks=ALL_TASKS,
        labels="polygons",
        training_defects=True,
        split="own files, or own train and val",
        source="Lin et al. 2014",
        licence="",
        option="boxes-as-masks",
    )

    def __init__(self, path: Path, split: str, option: str = "") -> None:
        check_split(split)
        if option not in ("", BOXES_AS_MASKS):
            raise DataSetError(f"coco knows the option {BOXES_AS_MASKS}, not {option!r}")
        self._boxes = option == BOXES_AS_MASKS
        files, divided = _files(path, split)
        # Numbers must not depend on the split, nor on the ids that a tool gave each file.
        every = {file: _load(file) for file, _ in _files(path, "all")[0]}
        self.classes = tuple(sorted({name for data in every.values() for name in _classes(data).values()}))
        entries = [e for file, folders in files for e in _entries(path, file, folders, every[file], self.classes)]
        super().__init__(entries if divided else own_split(entries, split))
        if not self.entries:
            raise DataSetError(f"{path} holds no image for split {split}")

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> U8:
        file, stated, annotations = entry.label
        if stated != size_hw:
            raise DataSetError(
                f"{file} says {stated[1]} x {stated[0]} px for {entry.path}, which is {size_hw[1]} x {size_hw[0]}; export again"
            )
        mask = np.zeros(size_hw, np.uint8)
        for value, annotation in annotations:
            where = f"{file}, annotation {annotation.get('id')}"
            self._draw(mask, annotation, value, where)
        return mask

    def _draw(self, mask: U8, annotation: dict[str, Any], value: int, where: str) -> None:
        outline = annotation.get("segmentation")
        try:
            if isinstance(outline, dict):
                mask[_decode(outline, mask, where) > 0] = value
            elif outline:
                for polygon in outline:
                    fill(mask, np.asarray(polygon, np.float64).reshape(-1, 2), value, where)
            elif self._boxes:
                x, y, w, h = (float(v) for v in annotation["bbox"])
                if w <= 0 or h <= 0:
                    raise DataSetError(f"{where} has a box of {w} x {h} px; both must be above 0")
                check_inside(np.array([(x, y), (x + w, y + h)]), mask.shape, where)
                mask[max(0, round(y)) : max(0, round(y + h)), max(0, round(x)) : max(0, round(x + w))] = value
            else:
                raise DataSetError(f"{where} has no outline, only a box; outline it, or use coco:{BOXES_AS_MASKS}")
        except DAMAGED as error:
            raise DataSetError(f"{where} is damaged ({type(error).__name__}: {error}); export it again") from error


def _decode(outline: dict[str, Any], mask: U8, where: str) -> U8:
    height, width = (int(v) for v in outline.get("size", mask.shape))
    if (height, width) != mask.shape:
        raise DataSetError(
            f"{where} has run lengths of {width} x {height} px, its image {mask.shape[1]} x {mask.shape[0]}; export again"
        )
    return decode_counts(outline["counts"], (height, width), where)


def _files(path: Path, split: str) -> tuple[list[tuple[Path, list[Path]]], bool]:
    """Return (JSON file, folders its images may be in) for a split, and whether the data set is divided itself."""
    found: dict[str, tuple[Path, list[Path]]] = {}
    for name, words in _VALID.items():
        for word in words:
            beside = path / word / "_annotations.coco.json"
            if beside.is_file():
                found[name] = (beside, [beside.parent])
            files = [
                f
                for f in sorted((path / "annotations").glob("*.json"))
                if re.fullmatch(rf"instances_{word}\d*", f.stem)
            ]
            if len(files) > 1:
                raise DataSetError(f"{files[0]} and {files[1]} are both split {name}; keep one of them in annotations/")
            for file in files:
                suffix = file.stem.removeprefix("instances_")
                found[name] = (file, [path / suffix, path / "images" / suffix, path / word, path / "images"])
    if not found:
        single = path / "annotations.json"
        if not single.is_file():
            raise DataSetError(
                f"{path} holds none of annotations/instances_*.json, train/_annotations.coco.json and annotations.json"
            )
        if split == "test":
            raise DataSetError(f"{path} is one undivided set; use --split val or all, or export it with a test split")
        return [(single, [path / "images", path])], False
    if split != "all" and split not in found:
        raise DataSetError(f"{path} has the splits {', '.join(found)}, not {split}")
    return [f for name, f in found.items() if split in (name, "all")], True


def _load(file: Path) -> dict[str, Any]:
    """Read a file and refuse what is not COCO, or has two of what there may be one of."""
    try:
        data = json.loads(file.read_bytes())
        for key, fields in (("categories", ("id", "name")), ("images", ("id", "file_name"))):
            for field in fields:
                values = [item[field] for item in data[key]]
                twice = [value for value, count in Counter(values).items() if count > 1]
                refuse(
                    [f"{file} has the {field} {value!r} twice in {key}" for value in twice], "export the labels again"
                )
        for annotation in data["annotations"]:
            annotation["image_id"], annotation["category_id"]  # both must be there
    except OSError as error:
        raise DataSetError(f"{file} cannot be read: {error.strerror}; copy it again") from error
    except DAMAGED as error:
        raise DataSetError(f"{file} is not a COCO file ({type(error).__name__}: {error}); export it again") from error
    return dict(data)


def _classes(data: dict[str, Any]) -> dict[int, str]:
    """Return id -> name of what is annotated, or could be: names that only head others, as some tools add them, are not."""
    used = {a["category_id"] for a in data["annotations"]}
    heads = {c.get("supercategory") for c in data["categories"] if c.get("supercategory") != c["name"]}
    return {c["id"]: str(c["name"]) for c in data["categories"] if c["id"] in used or c["name"] not in heads}


def _entries(
    path: Path, file: Path, folders: list[Path], data: dict[str, Any], classes: tuple[str, ...]
) -> list[Entry]:
    names = _classes(data)
    images = {image["id"]: image for image in data["images"]}
    labels: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    faults = []
    for annotation in data["annotations"]:
        image, category = annotation["image_id"], annotation["category_id"]
        where = f"{file}, annotation {annotation.get('id')}"
        if category not in names:
            faults.append(f"{where} has category {category}, which has no name")
        elif image not in images:
            faults.append(f"{where} belongs to image {image}, which is not listed")
        else:
            labels.setdefault(image, []).append((classes.index(names[category]) + 1, annotation))
    refuse(faults, "export the labels again")
    entries = []
    for number, image in images.items():
        name = str(image["file_name"])
        if Path(name).is_absolute():
            raise DataSetError(f"{file} lists {name}, an absolute path; export it with names below {folders[0]}")
        there = next((f / name for f in folders if (f / name).is_file()), None)
        if there is None:
            faults.append(f"{file} lists {name}, which is not in {folders[0]}")
            continue
        try:
            size = int(image["height"]), int(image["width"])
        except DAMAGED as error:
            raise DataSetError(f"{file}, image {name} has no height and width in px; export it again") from error
        inside = there.relative_to(path).as_posix()
        entries.append(Entry(inside, there, inside, (file, size, tuple(labels.get(number, ())))))
    refuse(faults, "copy the images again")
    return entries
