from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import open_dataset


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("imagenet", "'imagenet' is not known; use one of bsdata, coco, dagm"),
        ("severstal:2", "severstal has no option, got '2'"),
        ("kolektorsdd:3", "folds 0, 1 and 2, not '3'"),
        ("dagm:2", "no texture '2' in .*, it has 1, 7"),
        ("neu-det:masks", "neu-det knows the option boxes-as-masks, not 'masks'"),
        ("coco:masks", "coco knows the option boxes-as-masks, not 'masks'"),
        ("mvtec-ad:bottle", "bottle holds no train/good/ and test/"),
    ],
)
def test_what_is_not_there_is_refused(kind: str, message: str, trees: Any, tmp_path: Path) -> None:
    name = kind.partition(":")[0]
    if name in trees.kinds:
        trees.draw(name, tmp_path)
    with pytest.raises(DataSetError, match=message):
        open_dataset(kind, tmp_path, "train")


def test_folds_go_round_the_items(trees: Any, tmp_path: Path) -> None:
    """Each item is tested once, and never learned from in that fold."""
    trees.draw("kolektorsdd", tmp_path)
    tested: list[str] = []
    for fold in range(3):
        sides = {
            s: {i.split("/")[0] for i in open_dataset(f"kolektorsdd:{fold}", tmp_path, s).ids}
            for s in ("train", "val", "test")
        }
        assert not sides["test"] & (sides["train"] | sides["val"]) and not sides["train"] & sides["val"]
        tested += sorted(sides["test"])
    assert sorted(tested) == [f"kos{n:02}" for n in range(1, 10)]


def test_an_option_chooses_one_texture_or_category(trees: Any, tmp_path: Path) -> None:
    trees.draw("dagm", tmp_path / "dagm")
    assert open_dataset("dagm:7", tmp_path / "dagm", "test").classes == ("texture-7",)
    trees.draw("mvtec-ad", tmp_path / "mvtec" / "bottle")
    assert open_dataset("mvtec-ad:bottle", tmp_path / "mvtec", "test").classes == ("crack", "hole")
    with pytest.raises(DataSetError, match="write mvtec-ad:bottle for one of bottle"):
        open_dataset("mvtec-ad", tmp_path / "mvtec", "test")


def test_a_class_that_masks_or_bundles_cannot_hold_is_refused(tmp_path: Path) -> None:
    label = {"imageHeight": 40, "imageWidth": 48, "shapes": [{"label": "", "points": [[1, 1], [5, 1], [5, 5]]}]}
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((40, 48), np.uint8))
    (tmp_path / "a.json").write_text(json.dumps(label))
    with pytest.raises(DataSetError, match="has a class named ''; a name is printable"):
        open_dataset("labelme", tmp_path, "all")
    (tmp_path / "classes.txt").write_text("\n".join(f"Grösse {n}" for n in range(254)))
    assert len(open_dataset("labelme", tmp_path, "all").classes) == 254
    (tmp_path / "classes.txt").write_text("\n".join(f"Grösse {n}" for n in range(255)))
    with pytest.raises(DataSetError, match="has 255 classes, masks have numbers for 254"):
        open_dataset("labelme", tmp_path, "all")


def test_boxes_do_not_outline_defects_unless_that_is_accepted(trees: Any, tmp_path: Path) -> None:
    trees.draw("neu-det", tmp_path)
    for protocol in ("train", "evaluate"):
        with pytest.raises(DataSetError, match=r"marks defects with boxes, which do not outline them.*boxes-as-masks"):
            open_dataset("neu-det", tmp_path, "val", protocol=protocol)  # type: ignore[arg-type]
    assert len(open_dataset("neu-det:boxes-as-masks", tmp_path, "val", protocol="train")) > 0


def test_clean_training_images_teach_no_defects(trees: Any, tmp_path: Path) -> None:
    trees.draw("mvtec-ad", tmp_path)
    with pytest.raises(
        DataSetError, match=r"mvtec-ad has no defect in its training images.*evaluate on this one's test"
    ):
        open_dataset("mvtec-ad", tmp_path, "train", protocol="train")
    assert len(open_dataset("mvtec-ad", tmp_path, "test", protocol="evaluate")) == 7
