from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import jetspect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "parts"
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for n in range(6):
        pixels = np.random.default_rng(n).integers(0, 255, (60, 80, 3), np.uint8)
        mask = np.zeros((60, 80), np.uint8)
        mask[10:20, 30 : 30 + 4 * n] = 255
        cv2.imwrite(str(root / f"images/{n}.png"), pixels)
        cv2.imwrite(str(root / f"masks/{n}.png"), mask)
    return root


def test_a_good_set_is_counted_and_drawn(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "new" / "sheet.jpg"
    words = jetspect("data", "check", folder, "--out", sheet)
    assert words.returncode == 0 and "no problem found" in words.stdout and "80 x 60 px (6 images)" in words.stdout
    picture = cv2.imread(str(sheet))
    assert picture is not None and picture.shape[1] == 4 * 408 + 8
    data = json.loads(jetspect("data", "check", folder, "--json").stdout)
    assert sum(s["defective"] for s in data["splits"].values()) == 5 and data["problems"] == []
    assert data["classes"]["defect"]["area_px"]["median"] == 120 and data["sizes"] == [
        {"width": 80, "height": 60, "images": 6}
    ]


def test_a_set_with_faults_names_them_and_exits_with_1(folder: Path) -> None:
    (folder / "masks/2.png").unlink()
    words = jetspect("data", "check", folder)
    assert words.returncode == 1 and "problem: " in words.stdout and "2.png has no mask" in words.stdout
    data = jetspect("data", "check", folder, "--json")
    assert data.returncode == 1 and len(json.loads(data.stdout)["problems"]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--dataset", "photos"), "'photos' is not known; use one of bsdata"),
        (("--out", "sheet.pdf"), "sheet.pdf is no .png or .jpg"),
    ],
)
def test_what_cannot_be_done_exits_with_2(folder: Path, words: tuple[str, ...], message: str) -> None:
    done = jetspect("data", "check", folder, *words)
    assert done.returncode == 2 and message in done.stderr


def test_kinds_say_what_their_labels_cannot_do() -> None:
    kinds = {k["kind"]: k for k in json.loads(jetspect("data", "kinds", "--json").stdout)}
    assert kinds["neu-det"]["tasks"] == ["detection", "classification"] and not kinds["mvtec-ad"]["training_defects"]
    words = jetspect("data", "kinds").stdout
    assert all(kind in words for kind in kinds)


def test_training_and_evaluating_refuse_what_a_set_cannot_support(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "train.toml"
    config.write_text('[data]\ndataset = "mvtec-ad"\n')
    done = jetspect("train", config, "--data", folder, "--out", tmp_path / "run")
    assert done.returncode == 2 and "mvtec-ad has no defect in its training images" in done.stderr
    bundle = Path(__file__).resolve().parents[2] / "bundles" / "metal-demo"
    done = jetspect("evaluate", bundle, folder, "--dataset", "neu-det", "--split", "val")
    assert done.returncode == 2 and "neu-det marks defects with boxes" in done.stderr


def test_names_with_brackets_are_printed_as_they_are(folder: Path, tmp_path: Path) -> None:
    (folder / "classes.txt").write_text("type [b]\n[/red]\n")
    for mask in (folder / "masks").glob("*.png"):
        pixels = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        cv2.imwrite(str(mask), (pixels > 0).astype(np.uint8))
    words = jetspect("data", "check", folder, "--out", tmp_path / "x[/b].png")
    assert (
        words.returncode == 0
        and "type [b]" in words.stdout
        and "[/red]" in words.stdout
        and "x[/b].png" in words.stdout
    )
    again = jetspect("data", "check", folder, "--out", tmp_path / "x[/b].png")
    assert again.returncode == 2 and "is there already" in again.stderr
