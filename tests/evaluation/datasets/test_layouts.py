"""What must hold for every layout alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import KINDS, open_dataset
from jetspect.evaluation.datasets.check import check_dataset
from jetspect.evaluation.datasets.registry import READERS

OFFICIAL_TEST = {"dagm": 12, "kolektorsdd": 9, "kolektorsdd2": 6, "mvtec-ad": 7}
ALL = {
    "coco": (10, 5),
    "dagm": (32, 10),
    "folder": (10, 5),
    "kolektorsdd": (27, 9),
    "kolektorsdd2": (26, 13),
    "labelme": (10, 5),
    "magnetic-tile": (60, 50),
    "mvtec-ad": (17, 5),
    "neu-det": (10, 10),
    "severstal": (10, 5),
}


def test_every_reader_has_a_tree_here_or_a_test_of_its_own(trees: Any) -> None:
    assert set(ALL) == set(trees.kinds)
    assert set(ALL) | {"bsdata", "synthetic"} == set(KINDS) and len(KINDS) == len(READERS)


@pytest.mark.parametrize("kind", ALL)
def test_images_and_masks_are_read_whole(kind: str, trees: Any, tmp_path: Path) -> None:
    trees.draw(kind, tmp_path)
    data = open_dataset(kind, tmp_path, "all")
    left, top, right, bottom = trees.box_xyxy
    defective = 0
    for n in range(len(data)):
        sample = data[n]
        assert sample.image.shape == (*trees.size_hw, 3) and sample.image.dtype == np.uint8
        assert sample.mask is not None and sample.mask.shape == trees.size_hw and sample.mask.dtype == np.uint8
        values = set(np.unique(sample.mask)) - {0}
        assert len(values) <= 1 and all(1 <= v <= len(data.classes) for v in values)
        if values:
            defective += 1
            assert np.count_nonzero(sample.mask) == trees.area_px and sample.mask[top:bottom, left:right].all()
    assert (len(data), defective) == ALL[kind]
    assert len(set(data.ids)) == len(data) and data.name == kind


@pytest.mark.parametrize("kind", ALL)
def test_splits_are_apart_and_together_everything(kind: str, trees: Any, tmp_path: Path) -> None:
    trees.draw(kind, tmp_path)
    every = set(open_dataset(kind, tmp_path, "all").ids)
    train, val = (set(open_dataset(kind, tmp_path, split).ids) for split in ("train", "val"))
    if kind in OFFICIAL_TEST:
        test = set(open_dataset(kind, tmp_path, "test").ids)
        assert len(test) == OFFICIAL_TEST[kind]
    else:
        test = set()
        with pytest.raises(DataSetError, match="test"):
            open_dataset(kind, tmp_path, "test")
    assert train | val | test == every and len(train) + len(val) + len(test) == len(every)
    assert train and 0 < len(val) < len(train)


@pytest.mark.parametrize("kind", ALL)
def test_the_check_finds_no_fault_in_them(kind: str, trees: Any, tmp_path: Path) -> None:
    trees.draw(kind, tmp_path)
    found = check_dataset(kind, tmp_path)
    assert found.problems == ()
    assert sum(c.images for c in found.splits.values()) == ALL[kind][0]
    assert sum(c.defective for c in found.splits.values()) == ALL[kind][1]
    assert found.sizes == {(trees.size_hw[1], trees.size_hw[0]): ALL[kind][0]}
    assert {a for c in found.classes.values() for a in c.areas_px} == {trees.area_px}


@pytest.mark.parametrize("kind", ALL)
def test_a_folder_that_is_something_else_is_refused_with_its_name(kind: str, tmp_path: Path) -> None:
    for split in ("train", "all"):
        with pytest.raises(DataSetError, match=str(tmp_path)):
            open_dataset(kind, tmp_path, split)


@pytest.mark.parametrize("kind", ALL)
def test_a_damaged_image_is_named(kind: str, trees: Any, tmp_path: Path) -> None:
    trees.draw(kind, tmp_path)
    data = open_dataset(kind, tmp_path, "all")
    path = data[0].path
    assert path is not None
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataSetError, match=path.name):
        data[0]
    assert any(path.name in problem for problem in check_dataset(kind, tmp_path).problems)
