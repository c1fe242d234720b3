from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import MagneticTile
from jetspect.evaluation.datasets.check import check_dataset
from jetspect.evaluation.datasets.leaks import find_leaks

REAL = Path(os.environ.get("JETSPECT_MAGNETIC_TILE") or Path(__file__).parents[4] / "shared" / "data" / "magnetic-tile")


def test_exposures_of_one_tile_stay_together(trees: Any, tmp_path: Path) -> None:
    """The tree has two exposures of each tile under numbers next to each other, tiles are 5000 apart."""
    trees.draw("magnetic-tile", tmp_path)
    data = MagneticTile(tmp_path, "all")
    groups: dict[str, int] = {}
    for entry in data.entries:
        groups[entry.group] = groups.get(entry.group, 0) + 1
    assert len(groups) == 30 and set(groups.values()) == {2}
    assert find_leaks({s: MagneticTile(tmp_path, s) for s in ("train", "val")}) == []


def test_a_name_without_a_number_cannot_be_grouped(trees: Any, tmp_path: Path) -> None:
    trees.draw("magnetic-tile", tmp_path)
    for suffix in (".jpg", ".png"):
        (tmp_path / f"MT_Crack/Imgs/exp1_num_150000{suffix}").rename(tmp_path / f"MT_Crack/Imgs/tile{suffix}")
    with pytest.raises(DataSetError, match=r"tile\.jpg is not named exp<E>_num_<N>\.jpg.*rename it"):
        MagneticTile(tmp_path, "train")


@pytest.mark.magnetic_tile
@pytest.mark.skipif(not REAL.is_dir(), reason="set JETSPECT_MAGNETIC_TILE to the folder of the public set")
def test_the_public_set_is_whole_and_its_split_does_not_leak() -> None:
    found = check_dataset("magnetic-tile", REAL)
    assert found.problems == ()
    train, val = found.splits["train"], found.splits["val"]
    assert 0.15 <= val.images / (train.images + val.images) <= 0.25
    assert all(c.areas_px for c in found.classes.values()) and val.clean and val.defective
