from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import open_dataset
from jetspect.evaluation.datasets.check import check_dataset
from jetspect.evaluation.datasets.leaks import find_leaks, refuse_leaks


@pytest.fixture
def root(trees: Any, tmp_path: Path) -> Path:
    for side, count in (("train", 4), ("val", 3)):
        for n in range(count):
            trees.photo(tmp_path / side / f"images/{n}.png")
            trees.mask(tmp_path / side / f"masks/{n}.png", defect=n > 0)
    return tmp_path


def sides(root: Path) -> Any:
    return {split: open_dataset("folder", root, split) for split in ("train", "val")}


def test_sides_that_are_apart_pass(root: Path) -> None:
    assert find_leaks(sides(root)) == []
    refuse_leaks(sides(root))


def test_a_copy_under_another_name_is_found(root: Path) -> None:
    shutil.copy(root / "train/images/2.png", root / "val/images/0.png")
    with pytest.raises(
        DataSetError, match=r"val/images/0\.png in val is a copy of .*train/images/2\.png in train: a model"
    ):
        refuse_leaks(sides(root))
    assert any("is a copy of" in problem for problem in check_dataset("folder", root).problems)


def test_a_link_to_the_same_file_is_found(root: Path) -> None:
    (root / "val/images/0.png").unlink()
    (root / "val/images/0.png").symlink_to(root / "train/images/2.png")
    assert [f"{root}/val/images/0.png is in train and in val"] == find_leaks(sides(root))


def test_a_group_on_both_sides_is_found(trees: Any, tmp_path: Path) -> None:
    trees.draw("magnetic-tile", tmp_path)
    both = {split: open_dataset("magnetic-tile", tmp_path, split) for split in ("train", "val")}
    assert find_leaks(both) == []
    whole = {"train": both["train"], "all": open_dataset("magnetic-tile", tmp_path, "all")}
    assert len(find_leaks(whole)) == len(both["train"])
    both["val"].entries = (*both["val"].entries, both["train"].entries[0])  # type: ignore[attr-defined]
    assert len(find_leaks(both)) == 1


def test_rendered_parts_have_no_files_to_compare() -> None:
    assert find_leaks({s: open_dataset("synthetic", None, s) for s in ("train", "val")}) == []
