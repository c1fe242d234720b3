"""The whole chain on the command line, small: train, export, evaluate, inspect."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from commands import jetspect

from jetspect.runtime.sources.synthetic import render_part

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(290)
def test_a_model_goes_from_images_to_a_verdict(tmp_path: Path) -> None:
    for split, seeds in (("train", range(6)), ("val", range(6, 9))):
        for kind in ("images", "masks"):
            (tmp_path / "data" / split / kind).mkdir(parents=True)
        for seed in seeds:
            part = render_part(seed, (256, 192), defects=3)
            cv2.imwrite(str(tmp_path / "data" / split / "images" / f"{seed}.png"), part.image)
            cv2.imwrite(str(tmp_path / "data" / split / "masks" / f"{seed}.png"), (part.mask > 0) * 255)
    (tmp_path / "train.toml").write_text(
        """
        [data]
        dataset = "folder"
        path = "data"
        [model]
        kwargs = { width = 8, depth = 2 }
        [crops]
        size_wh = [128, 128]
        batch = 2
        [schedule]
        steps = 12
        warmup = 2
        validate_every = 6
        save_every = 6
        """
    )
    trained = jetspect("train", "train.toml", "--out", "run", "--json", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout)["info"]["val_images"] == 3
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"best.pt", "last.pt", "log.csv", "curve.png"}

    arguments = ("run/best.pt", "--dataset", "folder", "--data", "data", "--out", "bundle", "--json")
    exported = jetspect("export", *arguments, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    tiling = json.loads(exported.stdout)["manifest"]["tiling"]
    assert (tiling["mode"], tiling["stride_px"]) == ("exact", 4)
    again = jetspect("export", *arguments, cwd=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stdout

    judged = jetspect("evaluate", "bundle", "data", "--dataset", "folder", "--split", "val", "--json", cwd=tmp_path)
    assert json.loads(judged.stdout)["n"] == 3
    missing = jetspect("evaluate", "bundle", "data", "--dataset", "folder", "--split", "test", cwd=tmp_path)
    assert missing.returncode == 2
    assert "has the splits train, val, not test" in missing.stderr
    inspected = jetspect("inspect", "bundle", "data/val/images", "--json", cwd=tmp_path)
    assert len(json.loads(inspected.stdout)["inspections"]) == 3
