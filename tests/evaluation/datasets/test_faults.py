"""What is wrong in a data set is refused with the name of the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import open_dataset


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new))

    return spoil


def remove(file: str) -> Callable[[Path], None]:
    return lambda root: (root / file).unlink()


def blacken(file: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        old = cv2.imread(str(root / file), cv2.IMREAD_GRAYSCALE)
        assert old is not None and old.any()
        cv2.imwrite(str(root / file), np.zeros_like(old))

    return spoil


def shrink(file: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        assert (root / file).is_file()
        cv2.imwrite(str(root / file), np.zeros((20, 48), np.uint8))

    return spoil


def stray(file: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        cv2.imwrite(str(root / file), np.full((40, 48), 255, np.uint8))

    return spoil


def read_all(kind: str, root: Path) -> None:
    data = open_dataset(kind, root, "all")
    for n in range(len(data)):
        data[n]


@pytest.mark.parametrize(
    ("kind", "spoil", "message"),
    [
        ("kolektorsdd", remove("kos03/Part1_label.bmp"), r"kos03/Part1\.jpg has no label Part1_label\.bmp"),
        ("kolektorsdd", shrink("kos03/Part1_label.bmp"), r"Part1_label\.bmp is 48 x 20 px, its image .* 48 x 40"),
        ("kolektorsdd2", remove("test/20001_GT.png"), r"test/20001\.png has no label 20001_GT\.png"),
        ("dagm", remove("Class7/Train/Label/0003_label.PNG"), r"0003\.PNG is listed as defective and has no label"),
        ("dagm", stray("Class1/Test/Label/9999_label.PNG"), r"9999_label\.PNG belongs to no image"),
        ("dagm", blacken("Class1/Test/Label/0003_label.PNG"), r"0003_label\.PNG is empty, though its image"),
        ("neu-det", remove("ANNOTATIONS/patches_4.xml"), r"patches_4\.jpg has no label .*patches_4\.xml"),
        ("neu-det", replace("ANNOTATIONS/patches_4.xml", "patches", "rust"), r"patches_4\.xml names the class 'rust'"),
        ("neu-det", replace("ANNOTATIONS/patches_4.xml", ">20<", ">49<"), r"patches_4\.xml has a box \(10, 4, 49, 9\)"),
        ("neu-det", replace("ANNOTATIONS/patches_4.xml", "</object>", ""), r"patches_4\.xml is not a Pascal VOC"),
        (
            "neu-det",
            replace("ANNOTATIONS/patches_4.xml", "<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>'),
            r"patches_4\.xml has a document type",
        ),
        ("severstal", remove("train_images/003.jpg"), r"train\.csv names 003\.jpg: it is not in"),
        ("severstal", replace("train.csv", "003.jpg,2", "003.jpg,5"), r"train\.csv, line 3: class '5'; there are 1 to 4"),
        ("severstal", replace("train.csv", "003.jpg,2,", "003.jpg,2,9999 1 "), r"003\.jpg, class 2: a run lies outside"),
        ("severstal", replace("train.csv", "ImageId", "Image"), r"train\.csv is not Severstal's csv"),
        ("severstal", remove("train.csv"), r"train\.csv cannot be read"),
        ("mvtec-ad", remove("ground_truth/hole/001_mask.png"), r"test/hole/001\.png has no mask"),
        ("mvtec-ad", blacken("ground_truth/hole/001_mask.png"), r"001_mask\.png is empty, though its image"),
        ("coco", replace("annotations.json", '"category_id": 3', '"category_id": 4'), "category 4, which has no name"),
        ("coco", replace("annotations.json", '"image_id": 3', '"image_id": 33'), "image 33, which is not listed"),
        ("coco", replace("annotations.json", '"width": 48', '"width": 84'), r"says 84 x 40 px for .*is 48 x 40"),
        ("coco", remove("images/3.jpg"), r"lists 3\.jpg, which is not in"),
        ("coco", replace("annotations.json", '"segmentation": [[', '"segmentation": [["a", '), r"annotation \d is damaged"),
        ("coco", replace("annotations.json", "{", "", ), r"annotations\.json is not a COCO file"),
        ("coco", replace("annotations.json", '"id": 1,', '"id": 3,'), "has the id 3 twice in images"),
        ("coco", replace("annotations.json", '"1.jpg"', '"3.jpg"'), "has the file_name '3.jpg' twice in images"),
        ("coco", replace("annotations.json", '"crack"', '"pit"'), "has the name 'pit' twice in categories"),
        ("coco", replace("annotations.json", '"1.jpg"', '"/1.jpg"'), "lists /1.jpg, an absolute path"),
        ("coco", replace("annotations.json", "[[10, 4", "[[1e300, 4"), r"annotation \d has a point that is not finite"),
        ("coco", replace("annotations.json", "[[10, 4", "[[NaN, 4"), r"annotation \d has a point that is not finite"),
        ("coco", replace("annotations.json", '"width": 48', '"width": null'), r"image 0\.jpg has no height and width"),
        ("coco", replace("annotations.json", '"image_id"', '"image"'), r"is not a COCO file \(KeyError"),
        ("labelme", replace("3.json", "[[10, 4]", "[[10, null]"), r"3\.json has a (polygon|point)"),
        ("labelme", replace("3.json", "[[10, 4]", "[[10]"), r"3\.json has a polygon whose points are not pairs"),
        ("labelme", replace("3.json", "[[10, 4]", "[[3e9, 4]"), r"3\.json has a point that is not finite or beyond"),
        ("labelme", replace("3.json", '"shapes": [', '"shapes": ["a", '), r"3\.json is not a labelme file"),
        ("labelme", replace("3.json", '"imageWidth": 48', '"imageWidth": Infinity'), r"3\.json is not a labelme file"),
        ("labelme", replace("3.json", '"label": "crack"', '"label": null'), r"3\.json is not a labelme file"),
        ("neu-det", replace("ANNOTATIONS/patches_4.xml", ">11<", ">inf<"), r"patches_4\.xml is not a Pascal VOC"),
        ("neu-det", replace("ANNOTATIONS/patches_4.xml", ">11<", ">-7<"), r"patches_4\.xml has a box \(-8, 4"),
        ("severstal", replace("train.csv", "003.jpg,2,", "003.jpg,2,9223372036854775807 5 "), "a run lies outside"),
        ("severstal", replace("train.csv", "003.jpg,2,", f"003.jpg,2,{'9' * 24} 5 "), "must be numbers"),
        ("magnetic-tile", stray("MT_Free/Imgs/exp1_num_0.png"), r"num_0\.png marks a defect, though"),
        ("labelme", remove("3.json"), r"3\.jpg has no label file .*3\.json"),
        ("labelme", replace("3.json", "polygon", "point"), r"3\.json has a point of 4 points"),
        ("labelme", replace("3.json", '"imageWidth": 48', '"imageWidth": 50'), r"3\.json is for 50 x 40 px"),
        ("magnetic-tile", remove("MT_Crack/Imgs/exp1_num_150000.png"), r"exp1_num_150000\.jpg has no mask"),
        ("magnetic-tile", shrink("MT_Crack/Imgs/exp1_num_150000.png"), r"exp1_num_150000\.png is 48 x 20 px"),
        ("folder", remove("masks/3.png"), r"3\.jpg has no mask; expected .*3\.png"),
        ("folder", shrink("masks/3.png"), r"3\.png is 48 x 20 px"),
    ],
)  # fmt: skip
def test_a_fault_is_named(kind: str, spoil: Callable[[Path], None], message: str, trees: Any, tmp_path: Path) -> None:
    trees.draw(kind, tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataSetError, match=message):
        read_all(kind, tmp_path)


def test_of_many_faults_three_are_told_and_all_are_kept(trees: Any, tmp_path: Path) -> None:
    trees.draw("kolektorsdd", tmp_path)
    for label in tmp_path.glob("kos0[12]/*_label.bmp"):
        label.unlink()
    with pytest.raises(DataSetError, match=r"kos01/Part0.*kos01/Part2\.jpg has no label .* and 3 more: copy") as caught:
        open_dataset("kolektorsdd", tmp_path, "train")
    assert len(caught.value.faults) == 6 and "kos02/Part2.jpg" in caught.value.faults[5]


def test_a_folder_with_numbered_masks_refuses_a_class_without_a_name(trees: Any, tmp_path: Path) -> None:
    trees.draw("folder", tmp_path)
    (tmp_path / "classes.txt").write_text("pit\ncrack\n")
    trees.mask(tmp_path / "masks/3.png", value=3)
    for n in (1, 5, 7, 9):
        trees.mask(tmp_path / f"masks/{n}.png", value=2)
    with pytest.raises(DataSetError, match=r"3\.png holds the number 3, classes\.txt names 2 classes \(pit, crack\)"):
        read_all("folder", tmp_path)
    trees.mask(tmp_path / "masks/3.png", value=1)
    assert {int(open_dataset("folder", tmp_path, "all")[n].mask.max()) for n in range(10)} == {0, 1, 2}  # type: ignore[union-attr]


def test_labelme_keeps_to_named_classes_and_their_order(trees: Any, tmp_path: Path) -> None:
    trees.draw("labelme", tmp_path)
    assert open_dataset("labelme", tmp_path, "train").classes == ("crack", "pit")
    (tmp_path / "classes.txt").write_text("pit\ncrack\n")
    assert open_dataset("labelme", tmp_path, "val").classes == ("pit", "crack")
    (tmp_path / "classes.txt").write_text("pit\n")
    with pytest.raises(DataSetError, match=r"\.json names the class 'crack'; classes\.txt has pit"):
        read_all("labelme", tmp_path)


def test_coco_reads_split_files_and_boxes_only_when_accepted(trees: Any, tmp_path: Path) -> None:
    trees.draw("coco", tmp_path / "one")
    whole = json.loads((tmp_path / "one/annotations.json").read_text())
    for annotation in whole["annotations"]:
        annotation["bbox"], annotation["segmentation"] = [10, 4, 10, 5], []
    for name, part in (("train", range(6)), ("valid", range(6, 10))):
        for n in part:
            trees.photo(tmp_path / f"two/{name}/{n}.jpg")
        images = [i for i in whole["images"] if i["id"] in part]
        labels = [a for a in whole["annotations"] if a["image_id"] in part]
        (tmp_path / f"two/{name}/_annotations.coco.json").write_text(
            json.dumps({**whole, "images": images, "annotations": labels})
        )
    with pytest.raises(DataSetError, match=r"annotation 7 has no outline, only a box; .*coco:boxes-as-masks"):
        open_dataset("coco", tmp_path / "two", "val")[1]
    sample = open_dataset("coco:boxes-as-masks", tmp_path / "two", "val")[1]
    assert sample.mask is not None and np.count_nonzero(sample.mask) == trees.area_px
    with pytest.raises(DataSetError, match="has the splits train, val, not test"):
        open_dataset("coco", tmp_path / "two", "test")


@pytest.mark.parametrize(
    ("box", "area"),
    [([-50, 10, 20, 20], None), ([10, 10, -20, -5], None), ([-5, 10, 20, 20], 15 * 20), ([40, 30, 20, 20], 8 * 10)],
)
def test_coco_boxes_are_cut_at_the_image_and_never_wrap(
    box: list[int], area: int | None, trees: Any, tmp_path: Path
) -> None:
    trees.draw("coco", tmp_path)
    file = tmp_path / "annotations.json"
    whole = json.loads(file.read_text())
    whole["annotations"] = [{"id": 0, "image_id": 0, "category_id": 3, "bbox": box}]
    file.write_text(json.dumps(whole))
    data = open_dataset("coco:boxes-as-masks", tmp_path, "all")
    if area is None:
        with pytest.raises(DataSetError, match=r"annotation 0 (lies outside its image|has a box of -20)"):
            data[0]
    else:
        mask = data[0].mask
        assert mask is not None and np.count_nonzero(mask) == area


def test_coco_numbers_classes_by_name_whatever_ids_each_split_has(trees: Any, tmp_path: Path) -> None:
    square = [[10, 4, 19, 4, 19, 8, 10, 8]]
    for split, names in (("train", ("pit", "crack")), ("val", ("heads", "crack", "pit"))):
        trees.photo(tmp_path / f"{split}/0.jpg")
        categories = [{"id": n, "name": name, "supercategory": "heads"} for n, name in enumerate(names)]
        label = {"id": 0, "image_id": 0, "category_id": names.index("pit"), "segmentation": square}
        image = {"id": 0, "file_name": "0.jpg", "height": 40, "width": 48}
        (tmp_path / "annotations").mkdir(exist_ok=True)
        (tmp_path / f"annotations/instances_{split}.json").write_text(
            json.dumps({"images": [image], "annotations": [label], "categories": categories})
        )
    sides = [open_dataset("coco", tmp_path, split) for split in ("train", "val")]
    assert {side.classes for side in sides} == {("crack", "pit")}  # a name that only heads others is none
    assert {int(side[0].mask.max()) for side in sides} == {2}  # type: ignore[union-attr]
    (tmp_path / "annotations/instances_train2017.json").write_text("{}")
    with pytest.raises(
        DataSetError, match=r"instances_train\.json and .*instances_train2017\.json are both split train"
    ):
        open_dataset("coco", tmp_path, "train")


def test_coco_run_lengths_must_be_of_the_image_s_size(trees: Any, tmp_path: Path) -> None:
    trees.draw("coco", tmp_path)
    file = tmp_path / "annotations.json"
    whole = json.loads(file.read_text())
    outline = {"size": [48, 40], "counts": [100, 20, 48 * 40 - 120]}
    whole["annotations"] = [{"id": 0, "image_id": 0, "category_id": 3, "segmentation": outline}]
    file.write_text(json.dumps(whole))
    with pytest.raises(DataSetError, match="annotation 0 has run lengths of 40 x 48 px, its image 48 x 40"):
        open_dataset("coco", tmp_path, "all")[0]
    outline["size"] = [40, 48]
    file.write_text(json.dumps(whole))
    mask = open_dataset("coco", tmp_path, "all")[0].mask
    assert mask is not None and mask.T.ravel()[100:120].all() and np.count_nonzero(mask) == 20


@pytest.mark.parametrize(
    ("points", "area"), [([[20, 20], [20, 25]], None), ([[20, 20], [3e9, 25]], 0), ([[100, 100], [101, 100]], 0)]
)
def test_labelme_circles_lie_in_the_image(
    points: list[list[float]], area: int | None, trees: Any, tmp_path: Path
) -> None:
    trees.draw("labelme", tmp_path)
    shape = {"label": "pit", "shape_type": "circle", "points": points}
    (tmp_path / "0.json").write_text(json.dumps({"imageHeight": 40, "imageWidth": 48, "shapes": [shape]}))
    data = open_dataset("labelme", tmp_path, "all")
    if area == 0:
        with pytest.raises(DataSetError, match=r"0\.json (lies outside|has a point that is not finite or beyond)"):
            data[0]
    else:
        mask = data[0].mask
        assert mask is not None and np.count_nonzero(mask) == pytest.approx(np.pi * 25, rel=0.15)


def test_published_oddities_are_read_past(trees: Any, tmp_path: Path) -> None:
    """A stray copy in KolektorSDD2's archive, macOS' shadow files, and the label of NEU-DET's crazing_240 on the other side."""
    for kind in ("kolektorsdd2", "dagm", "mvtec-ad"):
        trees.draw(kind, tmp_path / kind)
    trees.photo(tmp_path / "kolektorsdd2/train/10301 (copy).png")
    trees.mask(tmp_path / "kolektorsdd2/train/10301_GT (copy).png")
    for folder in ("kolektorsdd2/train", "dagm/Class1/Train", "dagm/Class1/Train/Label", "mvtec-ad/test/hole"):
        (tmp_path / folder / "._10001.png").write_bytes(b"shadow")
    for kind, count in (("kolektorsdd2", 26), ("dagm", 32), ("mvtec-ad", 17)):
        assert len(open_dataset(kind, tmp_path / kind, "all")) == count
    neu = tmp_path / "neu"
    for side in ("train", "validation"):
        trees.photo(neu / side / f"images/crazing/{side}.jpg")
    (neu / "validation/annotations").mkdir()
    for name in ("train", "validation"):
        (neu / f"validation/annotations/{name}.xml").write_text(trees.voc([("crazing", (1, 1, 5, 5))]))
    assert len(open_dataset("neu-det", neu, "train")) == 1


def test_neu_det_reads_the_common_copy(trees: Any, tmp_path: Path) -> None:
    for side, count in (("train", 4), ("validation", 2)):
        for n in range(count):
            trees.photo(tmp_path / side / f"images/scratches/scratches_{n}.jpg")
            label = tmp_path / side / f"annotations/scratches_{n}.xml"
            label.parent.mkdir(exist_ok=True)
            label.write_text(trees.voc([("scratches", (1, 1, 48, 40)), ("inclusion", (2, 2, 3, 3))]))
    assert [len(open_dataset("neu-det", tmp_path, s)) for s in ("train", "val", "all")] == [4, 2, 6]
    mask = open_dataset("neu-det", tmp_path, "val")[0].mask
    assert mask is not None and np.bincount(mask.ravel()).tolist() == [0, 0, 4, 0, 0, 0, 40 * 48 - 4]
