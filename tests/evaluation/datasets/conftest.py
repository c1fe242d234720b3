"""Tiny data sets in each published layout, drawn on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

SIZE_HW = (40, 48)
BOX_XYXY = (10, 4, 20, 9)  # the last two not included
AREA_PX = 50


def photo(path: Path, *, seed: int = 0) -> None:
    """Write an image of noise that no other seed has."""
    pixels = np.random.default_rng([seed, *path.as_posix().encode()]).integers(0, 255, (*SIZE_HW, 3), np.uint8)
    write(path, pixels)


def mask(path: Path, *, defect: bool = True, value: int = 255, size_hw: tuple[int, int] = SIZE_HW) -> None:
    pixels = np.zeros(size_hw, np.uint8)
    if defect:
        left, top, right, bottom = BOX_XYXY
        pixels[top:bottom, left:right] = value
    write(path, pixels)


def write(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def kolektorsdd(root: Path) -> None:
    for item in range(1, 10):
        for part in range(3):
            photo(root / f"kos{item:02}/Part{part}.jpg")
            mask(root / f"kos{item:02}/Part{part}_label.bmp", defect=part == 1)


def kolektorsdd2(root: Path) -> None:
    for folder, numbers in (("train", range(10000, 10020)), ("test", range(20000, 20006))):
        for n in numbers:
            photo(root / f"{folder}/{n}.png")
            mask(root / f"{folder}/{n}_GT.png", defect=n % 2 == 0)


def dagm(root: Path) -> None:
    for texture in (1, 7):
        for folder, count in (("Train", 10), ("Test", 6)):
            lines = ["1"]
            for n in range(1, count + 1):
                photo(root / f"Class{texture}/{folder}/{n:04}.PNG")
                labelled = n % 3 == 0
                if labelled:
                    mask(root / f"Class{texture}/{folder}/Label/{n:04}_label.PNG")
                lines.append(f"{n}\t{int(labelled)}\t{n:04}.PNG\t0\t{f'{n:04}_label.PNG' if labelled else '0'}")
            (root / f"Class{texture}/{folder}/Label/Labels.txt").write_text("\n".join(lines))


def neu_det(root: Path) -> None:
    for n in range(1, 11):
        photo(root / f"IMAGES/patches_{n}.jpg")
        (root / "ANNOTATIONS").mkdir(exist_ok=True)
        (root / f"ANNOTATIONS/patches_{n}.xml").write_text(voc([("patches", (11, 5, 20, 9))]))


def voc(boxes: list[tuple[str, tuple[int, int, int, int]]]) -> str:
    """Pascal VOC counts from 1 and includes the last row and column."""
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{u}</xmax><ymax>{v}</ymax></bndbox></object>"
        for name, (x, y, u, v) in boxes
    )
    return f"<annotation>{objects}</annotation>"


def severstal(root: Path) -> None:
    rows = ["ImageId,ClassId,EncodedPixels"]
    left, top, right, bottom = BOX_XYXY
    runs = " ".join(f"{x * SIZE_HW[0] + top + 1} {bottom - top}" for x in range(left, right))
    for n in range(10):
        photo(root / f"train_images/{n:03}.jpg")
        if n % 2:
            rows.append(f"{n:03}.jpg,{1 + n // 2 % 4},{runs}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")


def mvtec_ad(root: Path) -> None:
    for n in range(10):
        photo(root / f"train/good/{n:03}.png")
    for kind, count in (("crack", 3), ("good", 2), ("hole", 2)):
        for n in range(count):
            photo(root / f"test/{kind}/{n:03}.png")
            if kind != "good":
                mask(root / f"ground_truth/{kind}/{n:03}_mask.png")


def coco(root: Path) -> None:
    images, annotations = [], []
    left, top, right, bottom = BOX_XYXY
    polygon = [left, top, right - 1, top, right - 1, bottom - 1, left, bottom - 1]
    for n in range(10):
        photo(root / f"images/{n}.jpg")
        images.append({"id": n, "file_name": f"{n}.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]})
        if n % 2:
            annotations.append({"id": n, "image_id": n, "category_id": 3 + 4 * (n % 4 == 1), "segmentation": [polygon]})
    categories = [{"id": 3, "name": "pit"}, {"id": 7, "name": "crack"}]
    (root / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )


def labelme(root: Path) -> None:
    left, top, right, bottom = BOX_XYXY
    square = [[left, top], [right - 1, top], [right - 1, bottom - 1], [left, bottom - 1]]
    for n in range(10):
        photo(root / f"{n}.jpg")
        shapes = (
            [{"label": "pit" if n % 4 == 1 else "crack", "shape_type": "polygon", "points": square}] if n % 2 else []
        )
        label = {"imageHeight": SIZE_HW[0], "imageWidth": SIZE_HW[1], "shapes": shapes}
        (root / f"{n}.json").write_text(json.dumps(label))


def folder(root: Path) -> None:
    for n in range(10):
        photo(root / f"images/{n}.jpg")
        mask(root / f"masks/{n}.png", defect=n % 2 == 1)


def magnetic_tile(root: Path) -> None:
    for value, kind in enumerate(("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven")):
        for n in range(10):
            name = root / f"MT_{kind}/Imgs/exp{1 + n % 2}_num_{(10 * value + n // 2) * 5000 + n % 2}"
            photo(name.with_suffix(".jpg"))
            mask(name.with_suffix(".png"), defect=value > 0)


TREES: dict[str, Callable[[Path], None]] = {
    "coco": coco,
    "dagm": dagm,
    "folder": folder,
    "kolektorsdd": kolektorsdd,
    "kolektorsdd2": kolektorsdd2,
    "labelme": labelme,
    "magnetic-tile": magnetic_tile,
    "mvtec-ad": mvtec_ad,
    "neu-det": neu_det,
    "severstal": severstal,
}
"""By kind; BSData's tree is drawn in its own test, the synthetic set needs none."""


@dataclass(frozen=True)
class Trees:
    """Draws data sets whose defects are all one box."""

    size_hw = SIZE_HW
    box_xyxy = BOX_XYXY
    area_px = AREA_PX
    kinds = tuple(TREES)
    mask = staticmethod(mask)
    photo = staticmethod(photo)
    voc = staticmethod(voc)

    def draw(self, kind: str, root: Path) -> Path:
        TREES[kind](root)
        return root


@pytest.fixture
def trees() -> Trees:
    return Trees()
