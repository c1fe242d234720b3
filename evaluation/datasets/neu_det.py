"""NEU-DET: six kinds of defects on hot-rolled steel strip, marked by boxes (Song and Yan, 2013; He, Song, Meng and Yan, 2020).

Layouts: ``IMAGES/*.jpg`` with ``ANNOTATIONS/*.xml`` as published, or the common copy with ``train/`` and ``validation/``,
each with ``images/<class>/*.jpg`` and ``annotations/*.xml``.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.files import DAMAGED, Entry, FileDataSet, images_below, own_split, refuse
from jetspect.evaluation.datasets.info import DataSetInfo
from jetspect.evaluation.datasets.splits import check_split

BOXES_AS_MASKS = "boxes-as-masks"


class NEUDet(FileDataSet):
    """One split of NEU-DET. Masks are filled boxes; what needs outlines is refused unless ``boxes-as-masks`` accepts that.

    The authors publish no split: ``train`` and ``val`` are divided by a hash of the name (in the common copy: its folders),
    ``test`` is refused. Where boxes of two kinds overlap, the smaller one is on top.

    Raises
    ------
    DataSetError
        A label is missing or damaged, or names an unknown class or a box outside its image.
    """

    info = DataSetInfo(
        kind="neu-det",
        title="hot-rolled steel, six kinds",
        tasks=("detection", "classification"),
        labels="boxes",
        training_defects=True,
        split="own train and val",
        source="Song and Yan 2013",
        licence="not stated",
        option="boxes-as-masks",
    )
    classes = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")

    def __init__(self, path: Path, split: str, option: str = "") -> None:
        check_split(split)
        if option not in ("", BOXES_AS_MASKS):
            raise DataSetError(f"neu-det knows the option {BOXES_AS_MASKS}, not {option!r}")
        if split == "test":
            raise DataSetError("neu-det has no test split; use val or all")
        if (path / "IMAGES").is_dir():
            entries = own_split(_entries(path, path / "IMAGES", [path / "ANNOTATIONS"]), split)
        elif (path / "train" / "images").is_dir():
            folders = [f for f, s in (("train", "train"), ("validation", "val")) if split in (s, "all")]
            # crazing_240.jpg lies on one side of the common copy, its label on the other.
            labels = [path / f / "annotations" for f in ("train", "validation")]
            entries = [e for f in folders for e in _entries(path, path / f / "images", labels)]
        else:
            raise DataSetError(
                f"{path} holds neither IMAGES/ and ANNOTATIONS/ nor train/images/; give NEU-DET's folder"
            )
        if not entries:
            raise DataSetError(f"{path} holds no image for split {split}; copy the data set again")
        super().__init__(entries)

    def read_mask(self, entry: Entry, size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
        mask = np.zeros(size_hw, np.uint8)
        boxes = _boxes(entry.label, size_hw)
        for name, (left, top, right, bottom) in sorted(boxes, key=lambda b: -(b[1][2] - b[1][0]) * (b[1][3] - b[1][1])):
            if name not in self.classes:
                raise DataSetError(f"{entry.label} names the class {name!r}; NEU-DET has {', '.join(self.classes)}")
            mask[max(0, top) : bottom, max(0, left) : right] = self.classes.index(name) + 1
        return mask


def _entries(path: Path, images: Path, labels: list[Path]) -> list[Entry]:
    names = {i: [folder / f"{i.stem}.xml" for folder in labels] for i in images_below(images)}
    found = [(i, next((f for f in files if f.is_file()), files[0])) for i, files in names.items()]
    refuse([f"{i} has no label {label}" for i, label in found if not label.is_file()], "copy the data set again")
    return [Entry(i.relative_to(path).as_posix(), i, i.relative_to(path).as_posix(), label) for i, label in found]


def _boxes(path: Path, size_hw: tuple[int, int]) -> list[tuple[str, tuple[int, int, int, int]]]:
    """Read boxes (left, top, right, bottom; the last two not included) of a Pascal VOC file, which counts from 1."""
    try:
        data = path.read_bytes()
        if b"<!" in data.replace(b"<!--", b""):  # a document type can hold entities that fill the memory
            raise DataSetError(f"label {path} has a document type, which no label needs; copy it again")
        root = ElementTree.fromstring(data)  # noqa: S314
        boxes = []
        for item in root.iter("object"):
            left, top, right, bottom = (
                int(float(item.findtext(f"bndbox/{k}", ""))) for k in ("xmin", "ymin", "xmax", "ymax")
            )
            boxes.append((item.findtext("name", "").strip(), (left - 1, top - 1, right, bottom)))
    except OSError as error:
        raise DataSetError(f"label {path} cannot be read: {error.strerror}; copy it again") from error
    except (ElementTree.ParseError, *DAMAGED) as error:
        raise DataSetError(f"label {path} is not a Pascal VOC file ({error}); copy it again") from error
    for _, (left, top, right, bottom) in boxes:
        # Some published boxes begin at 0, where the format counts from 1.
        if not (-1 <= left < right <= size_hw[1] and -1 <= top < bottom <= size_hw[0]):
            raise DataSetError(
                f"label {path} has a box ({left:.6g}, {top:.6g}, {right:.6g}, {bottom:.6g}) outside its image of "
                f"{size_hw[1]} x {size_hw[0]} px; copy it again"
            )
    return boxes
