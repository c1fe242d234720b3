from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets import BSData, open_dataset

SEQUENCES, PER_SEQUENCE, SINGLES = 10, 6, 10
REAL = Path(os.environ.get("JETSPECT_BSDATA") or Path(__file__).parents[4] / "shared" / "data" / "bsdata")


def write(
    root: Path, name: str, split: str | None, wear: list[str], points: list[list[float]] | None
) -> dict[str, object]:
    cv2.imwrite(str(root / "data" / f"{name}.jpg"), np.full((48, 64, 3), 90, np.uint8))
    if points is not None:
        label = {"imageHeight": 48, "imageWidth": 64, "shapes": [{"label": "Pitting", "points": points}]}
        (root / "label" / f"{name}.json").write_text(json.dumps(label))
    annotations = f"{name}.json" if points is not None else None
    return {"filename": f"{name}.jpg", "train_test_split": split, "wear_dev": wear, "annotations": annotations}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sequences whose members name two others of the same sequence, singles, a test image and one without label."""
    (tmp_path / "data").mkdir()
    (tmp_path / "label").mkdir()
    square = [[10.2, 5.0], [19.8, 5.0], [20.0, 14.0], [10.0, 14.4]]
    entries = [
        write(tmp_path, f"s{s}_{n}_crop_{n % 2}", "train", [f"s{s}_0_crop", f"s{s}_1_crop"], square)
        for s in range(SEQUENCES)
        for n in range(PER_SEQUENCE)
    ]
    entries += [write(tmp_path, f"single{n}_crop_0", "train", [], square) for n in range(SINGLES)]
    entries.append(write(tmp_path, "exam_crop_1", "test", [], square))
    entries.append(write(tmp_path, "s0_early_crop_1", None, ["s0_0_crop"], None))
    (tmp_path / "image_data.json").write_text(json.dumps({"images": entries}))
    return tmp_path


def index(root: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((root / "image_data.json").read_text())["images"]
    return entries


def test_splits_are_disjoint_complete_and_keep_sequences_together(root: Path) -> None:
    sets = {split: BSData(root, split) for split in ("train", "val", "test", "all")}
    train, val = set(sets["train"].ids), set(sets["val"].ids)
    assert not train & val
    assert train | val | {"exam_crop_1.jpg"} == set(sets["all"].ids)
    assert sets["test"].ids == ("exam_crop_1.jpg",)
    assert len(val) == 0.2 * (SEQUENCES * PER_SEQUENCE + SINGLES)
    sequences = [{name.split("_")[0] for name in side} for side in (train, val)]
    assert not sequences[0] & sequences[1]
    assert all(any(name.startswith(kind) for name in val) for kind in ("single", "s"))
    assert BSData(root, "val").ids == sets["val"].ids


def test_members_of_a_sequence_share_a_group(root: Path) -> None:
    data = BSData(root, "all")
    groups = {sample.sample_id: sample.group for sample in (data[n] for n in range(len(data)))}
    assert len({groups[f"s3_{n}_crop_{n % 2}.jpg"] for n in range(PER_SEQUENCE)}) == 1
    assert len(set(groups.values())) == SEQUENCES + SINGLES + 1


def test_polygons_become_the_mask(root: Path) -> None:
    sample = BSData(root, "test")[0]
    assert sample.mask is not None and sample.image.shape == (48, 64, 3)
    expected = np.zeros((48, 64), np.uint8)
    expected[5:15, 10:21] = 1
    assert np.array_equal(sample.mask, expected)


def test_images_without_label_are_in_no_split(root: Path) -> None:
    assert "s0_early_crop_1.jpg" not in BSData(root, "all").ids


def test_a_copy_without_test_images_says_so(root: Path) -> None:
    (root / "data" / "exam_crop_1.jpg").unlink()
    with pytest.raises(DataSetError, match="holds no image of BSData's official test split; get the full data set"):
        open_dataset("bsdata", root, "test")


def test_an_image_that_is_missing_is_named(root: Path) -> None:
    (root / "data" / "single4_crop_0.jpg").unlink()
    with pytest.raises(DataSetError, match=r"lacks single4_crop_0\.jpg"):
        BSData(root, "all")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a labelme file"),
        ('{"imageHeight": 48, "imageWidth": 64}', "is not a labelme file"),
        ('{"imageHeight": 50, "imageWidth": 64, "shapes": []}', "is for 64 x 50 px, the image is 64 x 48"),
        ('{"imageHeight": 48, "imageWidth": 64, "shapes": [{"points": [[1, 2]]}]}', r"polygon of shape \(1, 2\)"),
    ],
)
def test_a_label_with_a_fault_is_named(root: Path, text: str, message: str) -> None:
    (root / "label" / "exam_crop_1.json").write_text(text)
    with pytest.raises(DataSetError, match=rf"exam_crop_1\.json {message}|exam_crop_1\.json.*{message}"):
        BSData(root, "test")[0]


def test_a_missing_label_and_a_damaged_image_are_named(root: Path) -> None:
    (root / "label" / "exam_crop_1.json").unlink()
    with pytest.raises(DataSetError, match=r"exam_crop_1\.json cannot be read"):
        BSData(root, "test")[0]
    picture = root / "data" / "exam_crop_1.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(DataSetError, match=r"exam_crop_1\.jpg"):
        BSData(root, "test")[0]


@pytest.mark.parametrize("text", ["[]", "{", '{"images": [{"filename": "a.jpg"}]}', '{"images": [3]}'])
def test_a_damaged_index_is_named(root: Path, text: str) -> None:
    (root / "image_data.json").write_text(text)
    with pytest.raises(DataSetError, match=r"image_data\.json is not BSData's index"):
        BSData(root, "all")


def test_a_folder_that_is_something_else_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="give the folder that holds data/ and label/"):
        BSData(tmp_path, "train")


@pytest.mark.bsdata
@pytest.mark.skipif(not REAL.is_dir(), reason="set JETSPECT_BSDATA to the folder of the public BSData set")
def test_the_public_set_is_split_by_wear_sequence() -> None:
    train, val = BSData(REAL, "train"), BSData(REAL, "val")
    total = len(train) + len(val)
    assert total >= 324 and 0.15 <= len(val) / total <= 0.25
    assert not set(train.ids) & set(val.ids)
    named = {str(e["filename"]): {str(e["filename"]), *map(str, e["wear_dev"])} for e in index(REAL)}
    stems = [{w.partition("_crop")[0] for name in side.ids for w in named[name]} for side in (train, val)]
    assert not stems[0] & stems[1]
    for side in (train, val):
        kinds = [bool(named[name] - {name}) for name in side.ids]
        assert any(kinds) and not all(kinds)  # sequences and singles on both sides
    sample = val[0]
    assert sample.mask is not None and sample.mask.any() and sample.mask.shape == sample.image.shape[:2]
