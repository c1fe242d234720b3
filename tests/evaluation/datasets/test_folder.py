from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import MaskFolder, open_dataset


def add(image: Path, mask: Path | None, *, level: int = 255, size_hw: tuple[int, int] = (32, 40)) -> None:
    image.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), np.full((32, 40, 3), 80, np.uint8))
    if mask is not None:
        mask.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros(size_hw, np.uint8)
        pixels[4:9, 10:20] = level
        cv2.imwrite(str(mask), pixels)


def test_masks_stand_in_a_folder_of_their_own_or_beside_the_images(tmp_path: Path) -> None:
    add(tmp_path / "apart/images/x/a.png", tmp_path / "apart/masks/x/a.png")
    add(tmp_path / "beside/a.jpg", tmp_path / "beside/a.png")
    for name in ("apart", "beside"):
        data = open_dataset("folder", tmp_path / name, "all")
        mask = data[0].mask
        assert len(data) == 1 and mask is not None and mask.sum() == 50 and set(np.unique(mask)) == {0, 1}


@pytest.mark.parametrize(("level", "defective"), [(1, False), (127, False), (128, True), (255, True)])
def test_a_mask_pixel_above_the_middle_is_a_defect(tmp_path: Path, level: int, defective: bool) -> None:
    """Beside white ones: grey edges of what was a JPEG once."""
    add(tmp_path / "images/a.png", None)
    pixels = np.zeros((32, 40), np.uint8)
    pixels[0, 0], pixels[4:9, 10:20] = 255, level
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/a.png"), pixels)
    mask = MaskFolder(tmp_path, "all")[0].mask
    assert mask is not None and mask.sum() == 1 + 50 * defective


@pytest.mark.parametrize("level", [1, 127])
def test_a_mask_that_marks_something_but_nothing_white_is_refused(tmp_path: Path, level: int) -> None:
    """Taken for a clean image, it would teach that defects are none."""
    add(tmp_path / "images/a.png", tmp_path / "masks/a.png", level=level)
    with pytest.raises(DataSetError, match=rf"a\.png holds values up to {level}, a defect is white.*classes\.txt"):
        MaskFolder(tmp_path, "all")[0]


def test_numbered_masks_keep_their_numbers_or_are_refused(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufeffpit\ncrack\n", encoding="utf-8")
    add(tmp_path / "images/a.png", tmp_path / "masks/a.png", level=2)
    assert MaskFolder(tmp_path, "all").classes == ("pit", "crack")
    colour = np.zeros((32, 40, 3), np.uint8)
    colour[4:9, 10:20] = (0, 1, 2)
    cv2.imwrite(str(tmp_path / "masks/a.png"), colour)
    with pytest.raises(DataSetError, match=r"a\.png is a colour picture"):
        MaskFolder(tmp_path, "all")[0]
    (tmp_path / "images/a.png").rename(tmp_path / "images/a.jpg")
    (tmp_path / "masks/a.png").unlink()
    add(tmp_path / "images/b.png", tmp_path / "masks/b.png", level=1)
    cv2.imwrite(str(tmp_path / "masks/a.jpg"), np.zeros((32, 40), np.uint8))
    with pytest.raises(DataSetError, match=r"a\.jpg is compressed with loss"):
        MaskFolder(tmp_path, "all")[0]


def test_masks_without_an_image_and_images_of_one_name(tmp_path: Path) -> None:
    add(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    add(tmp_path / "images/a.jpg", None)
    assert len({e.group for e in MaskFolder(tmp_path, "all").entries}) == 1
    add(tmp_path / "images/c.png", tmp_path / "masks/c.PNG")
    (tmp_path / "images/.hidden").mkdir()
    add(tmp_path / "images/.hidden/c.png", None)
    (tmp_path / "images/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "masks/gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(DataSetError, match=r"gone\.png"):
        [sample.mask for sample in iter(MaskFolder(tmp_path, "all"))]
    for name in ("images", "masks"):
        (tmp_path / name / "gone.png").unlink()
    assert len(MaskFolder(tmp_path, "all")) == 3
    add(tmp_path / "spare.png", tmp_path / "masks/stranger.png")
    with pytest.raises(DataSetError, match=r"mask .*stranger\.png belongs to no image"):
        MaskFolder(tmp_path, "all")


def test_split_folders_may_have_capitals(tmp_path: Path) -> None:
    for split, count in (("Train", 3), ("Test", 2)):
        for n in range(count):
            add(tmp_path / split / f"images/{n}.png", tmp_path / split / f"masks/{n}.png")
    assert [len(MaskFolder(tmp_path, s)) for s in ("train", "test", "all")] == [3, 2, 5]


def test_own_split_folders_go_before_the_hash(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 2)):
        for n in range(count):
            add(tmp_path / split / f"images/{n}.png", tmp_path / split / f"masks/{n}.png")
    assert [len(MaskFolder(tmp_path, s)) for s in ("train", "val", "all")] == [3, 2, 5]
    with pytest.raises(DataSetError, match="has the splits train, val, not test"):
        MaskFolder(tmp_path, "test")


def test_without_split_folders_train_and_val_are_disjoint_and_complete(tmp_path: Path) -> None:
    for n in range(20):
        add(tmp_path / f"images/{n}.png", tmp_path / f"masks/{n}.png")
    train, val = MaskFolder(tmp_path, "train"), MaskFolder(tmp_path, "val")
    assert len(val) == 4 and sorted([*train.ids, *val.ids]) == list(MaskFolder(tmp_path, "all").ids)
    with pytest.raises(DataSetError, match="has no test/ folder; use --split all"):
        MaskFolder(tmp_path, "test")


def test_a_missing_mask_is_named(tmp_path: Path) -> None:
    add(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    add(tmp_path / "images/b.png", None)
    with pytest.raises(DataSetError, match=r"b\.png has no mask; expected .*masks/b\.png"):
        MaskFolder(tmp_path, "all")


def test_a_mask_of_another_size_names_both_files(tmp_path: Path) -> None:
    add(tmp_path / "images/a.png", tmp_path / "masks/a.png", size_hw=(32, 41))
    with pytest.raises(DataSetError, match=r"masks/a\.png is 41 x 32 px, its image .*images/a\.png 40 x 32"):
        MaskFolder(tmp_path, "all")[0]


def test_a_damaged_image_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="holds no image with a mask for split all"):
        MaskFolder(tmp_path, "all")
    add(tmp_path / "images/a.png", tmp_path / "masks/a.png")
    (tmp_path / "images/a.png").write_bytes(b"")
    with pytest.raises(DataSetError, match=r"a\.png is empty"):
        MaskFolder(tmp_path, "all")[0]


def test_opening_says_what_is_wrong_with_kind_or_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for kind, path, message in (
        ("nosuch", tmp_path, "data set 'nosuch' is not known; use one of bsdata, coco, dagm"),
        ("folder", None, "data set folder needs the path of its folder"),
        ("folder", tmp_path / "none", "does not exist"),
        ("folder", tmp_path / "file", "is a file"),
    ):
        with pytest.raises(DataSetError, match=message):
            open_dataset(kind, path, "all")


def test_an_image_that_exif_turns_is_refused(tmp_path: Path) -> None:
    """Orientation 3: half a turn, as a camera held upside down writes it."""
    add(tmp_path / "images/a.jpg", tmp_path / "masks/a.png")
    pixels = np.random.default_rng(0).integers(0, 255, (32, 40, 3), np.uint8)
    _, jpeg = cv2.imencode(".jpg", pixels)
    for orientation in (1, 3):
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0\0\0\0\0\0\0"
        head = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
        (tmp_path / "images/a.jpg").write_bytes(jpeg[:2].tobytes() + head + jpeg[2:].tobytes())
        data = MaskFolder(tmp_path, "all")
        if orientation == 1:
            assert data[0].mask is not None
        else:
            with pytest.raises(DataSetError, match=r"a\.jpg is turned by its EXIF orientation"):
                data[0]
