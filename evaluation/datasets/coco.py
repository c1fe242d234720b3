"""COCO: polygons and run lengths in one JSON file per split, as most labelling tools export them (Lin et al., 2014).

Layouts: ``annotations/instances_train.json`` with images in ``train/`` (or ``images/``), ``val`` and ``test`` alike, also
with years as in ``train2017``; ``train/_annotations.coco.json`` beside its images, ``valid/`` and ``test/`` alike; or one
``annotations.json`` with ``images/``, divided by a hash of the file name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import Entry, FileDataSet, fill, own_split, refuse
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
        entries: list[Entry] = []
        classes: list[tuple[str, ...]] = []
        for file, folders in files:
            names, found = _read(path, file, folders)
            classes.append(names)
            entries += found
        if len(set(classes)) > 1:
            raise DataSetError(f"{files[0][0]} and {files[-1][0]} name other classes; export them from one project")
        self.classes = classes[0]
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
                mask[decode_counts(outline["counts"], mask.shape[:2], where) > 0] = value
            elif outline:
                for polygon in outline:
                    fill(mask, np.asarray(polygon, np.float64).reshape(-1, 2), value, where)
            elif self._boxes:
                x, y, w, h = (float(v) for v in annotation["bbox"])
                mask[max(0, round(y)) : round(y + h), max(0, round(x)) : round(x + w)] = value
            else:
                raise DataSetError(f"{where} has no outline, only a box; outline it, or use coco:{BOXES_AS_MASKS}")
        except (KeyError, ValueError, TypeError) as error:
            raise DataSetError(f"{where} is damaged ({type(error).__name__}: {error}); export it again") from error


def _files(path: Path, split: str) -> tuple[list[tuple[Path, list[Path]]], bool]:
    """Return (JSON file, folders its images may be in) for a split, and whether the data set is divided itself."""
    found: dict[str, tuple[Path, list[Path]]] = {}
    for name, words in _VALID.items():
        for word in words:
            beside = path / word / "_annotations.coco.json"
            if beside.is_file():
                found[name] = (beside, [beside.parent])
            for file in sorted((path / "annotations").glob(f"instances_{word}*.json")):
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


def _read(path: Path, file: Path, folders: list[Path]) -> tuple[tuple[str, ...], list[Entry]]:
    try:
        data = json.loads(file.read_bytes())
        categories = {int(c["id"]): str(c["name"]) for c in data["categories"]}
        images = {int(i["id"]): i for i in data["images"]}
        used = sorted({int(a["category_id"]) for a in data["annotations"]} | set(_leaves(data["categories"])))
        numbers = {category: n for n, category in enumerate(used, 1)}
        labels: dict[int, list[tuple[int, dict[str, Any]]]] = {}
        faults = []
        for annotation in data["annotations"]:
            image, category = int(annotation["image_id"]), int(annotation["category_id"])
            if category not in categories:
                faults.append(f"{file}, annotation {annotation.get('id')} has category {category}, which has no name")
            elif image not in images:
                faults.append(
                    f"{file}, annotation {annotation.get('id')} belongs to image {image}, which is not listed"
                )
            else:
                labels.setdefault(image, []).append((numbers[category], annotation))
        refuse(faults, "export the labels again")
        entries = []
        for number, info in sorted(images.items()):
            image_path = next((f / info["file_name"] for f in folders if (f / info["file_name"]).is_file()), None)
            if image_path is None:
                faults.append(f"{file} lists {info['file_name']}, which is not in {folders[0]}")
                continue
            name = image_path.relative_to(path).as_posix()
            size = int(info["height"]), int(info["width"])
            entries.append(Entry(name, image_path, name, (file, size, tuple(labels.get(number, ())))))
    except OSError as error:
        raise DataSetError(f"{file} cannot be read: {error.strerror}; copy it again") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataSetError(f"{file} is not a COCO file ({type(error).__name__}: {error}); export it again") from error
    refuse(faults, "copy the images again")
    return tuple(categories[c] for c in used), entries


def _leaves(categories: list[dict[str, Any]]) -> list[int]:
    """Leave out names that only head others, as some tools add them."""
    heads = {c.get("supercategory") for c in categories}
    return [int(c["id"]) for c in categories if c["name"] not in heads or c.get("supercategory") == c["name"]]
