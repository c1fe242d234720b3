from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import open_dataset
from jetspect.evaluation.datasets.check import check_dataset
from jetspect.evaluation.datasets.contact import draw_sheet
from jetspect.evaluation.drawing import COLOURS


def test_counts_classes_areas_and_what_has_no_label(trees: Any, tmp_path: Path) -> None:
    trees.draw("magnetic-tile", tmp_path)
    trees.mask(tmp_path / "MT_Uneven/Imgs/exp1_num_250000.png", defect=False)
    pixels = np.zeros(trees.size_hw, np.uint8)
    pixels[1, 1], pixels[5:7, 5:9], pixels[7, 9] = 255, 255, 255  # the last touches the second at a corner
    cv2.imwrite(str(tmp_path / "MT_Crack/Imgs/exp1_num_150000.png"), pixels)
    found = check_dataset("magnetic-tile", tmp_path)
    assert found.problems == () and "test: magnetic-tile has no official test split" in found.notes[0]
    total = [sum(getattr(c, k) for c in found.splits.values()) for k in ("images", "defective", "clean", "unlabelled")]
    assert total == [60, 49, 10, 1]
    assert sorted(found.classes["crack"].areas_px)[:2] == [1, 9] and len(found.classes["crack"].areas_px) == 11


def test_every_problem_is_told_and_good_images_are_still_counted(trees: Any, tmp_path: Path) -> None:
    trees.draw("folder", tmp_path)
    for n in (2, 3):
        cv2.imwrite(str(tmp_path / f"masks/{n}.png"), np.zeros((9, 9), np.uint8))
    found = check_dataset("folder", tmp_path)
    assert len(found.problems) == 2 and all(
        f"{n}.png is 9 x 9 px" in p for n, p in zip((2, 3), found.problems, strict=True)
    )
    assert sum(c.images for c in found.splits.values()) == 10 and sum(found.sizes.values()) == 8


def test_missing_labels_are_all_named(trees: Any, tmp_path: Path) -> None:
    trees.draw("folder", tmp_path)
    for n in range(5):
        (tmp_path / f"masks/{n}.png").unlink()
    assert [p.split("images/")[1][:5] for p in check_dataset("folder", tmp_path).problems] == [
        f"{n}.jpg" for n in range(5)
    ]


def test_a_set_without_any_defect_is_found_out(trees: Any, tmp_path: Path) -> None:
    trees.draw("folder", tmp_path)
    for n in (1, 3, 5, 7, 9):
        trees.mask(tmp_path / f"masks/{n}.png", defect=False)
    (problem,) = check_dataset("folder", tmp_path).problems
    assert "none of 10 labels" in problem and "classes.txt" in problem


def test_an_official_test_split_that_is_not_independent_is_a_note(trees: Any, tmp_path: Path) -> None:
    trees.draw("kolektorsdd2", tmp_path)
    shutil.copy(tmp_path / "train/10000.png", tmp_path / "test/20000.png")
    found = check_dataset("kolektorsdd2", tmp_path)
    assert (
        found.problems == () and "1 times test is not independent" in found.notes[0] and "20000.png" in found.notes[0]
    )


def test_what_the_caller_got_wrong_is_raised(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="is not known"):
        check_dataset("imagenet", tmp_path)
    with pytest.raises(DataSetError, match="does not exist"):
        check_dataset("folder", tmp_path / "none")


def test_examples_show_every_class_and_clean_images(trees: Any, tmp_path: Path) -> None:
    trees.draw("magnetic-tile", tmp_path)
    found = check_dataset("magnetic-tile", tmp_path, examples=12)
    ids = open_dataset("magnetic-tile", tmp_path, "all").ids
    kinds = [ids[place].split("/")[0] for place in found.examples]
    assert len(set(found.examples)) == 12 and {kinds.count(k) for k in set(kinds)} == {2} and len(set(kinds)) == 6


def test_the_sheet_outlines_each_class_in_its_colour(trees: Any, tmp_path: Path) -> None:
    trees.draw("labelme", tmp_path)
    data = open_dataset("labelme", tmp_path, "all")
    sheet = draw_sheet(data, range(5))
    assert sheet.shape == (2 * 348 + 8, 4 * 408 + 8, 3)
    shown = {tuple(c) for c in np.unique(sheet.reshape(-1, 3), axis=0).tolist()}
    assert {COLOURS[0], COLOURS[1]} <= shown
    assert draw_sheet(data, ()).ndim == 3
