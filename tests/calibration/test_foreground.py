"""Two checkpoints and a labelled folder become one bundle, on the command line too."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from jetspect.calibration.foreground import ForegroundOptions, foreground_job
from jetspect.calibration.prepare import ExportOptions, export_checkpoint
from jetspect.cli import app
from jetspect.errors import ExportError, InputError
from jetspect.evaluation.datasets import open_dataset
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.manifest import Manifest


class Grey(nn.Module):
    """Says yes above (``sign`` 1) or below (-1) its mean grey."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.conv.weight, 4 * sign)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.conv(x)
        return answer


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright parts on a black tray, with dark pits; one lies on the part's edge."""
    root = tmp_path_factory.mktemp("data") / "set"
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / "val" / kind).mkdir(parents=True)
    for number in range(4):
        image = rng.integers(0, 40, (400, 480, 3)).astype(np.uint8)
        image[80:320, 100:400] = rng.integers(150, 200, (240, 300, 3))
        mask = np.zeros((400, 480), np.uint8)
        mask[200:220, 200 + 9 * number : 220 + 9 * number] = mask[150:160, 100:108] = 255
        image[mask > 0] = 30
        cv2.imwrite(str(root / "val" / "images" / f"{number}.png"), image)
        cv2.imwrite(str(root / "val" / "masks" / f"{number}.png"), mask)
    return root


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    module = types.ModuleType("grey_models")
    module.light = lambda: Grey(1.0)  # type: ignore[attr-defined]
    module.dark = lambda: Grey(-1.0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "grey_models", module)
    for name, cls, sign in (("light", "part", 1.0), ("dark", "pit", -1.0)):
        weights = {k: v.clone() for k, v in Grey(sign).state_dict().items()}
        limits = ((0.5,), (0.5,), (1,))
        info = {"scale": 8, "train_images": 5, "dataset": "plates"} if name == "light" else {}
        Checkpoint(f"grey_models:{name}", {}, (cls,), 3, (100.0,) * 3, (30.0,) * 3, weights, *limits, info=info).save(
            tmp_path / f"{name}.pt"
        )
    return tmp_path / "light.pt", tmp_path / "dark.pt"


def options(data: Path, first: ForegroundOptions | None) -> ExportOptions:
    return ExportOptions("folder", data, "val", "two", "1.0.0", tile_px=64, foreground=first)


def test_both_checkpoints_end_up_in_one_bundle_with_what_stage_one_keeps(
    stages: tuple[Path, Path], data: Path, tmp_path: Path
) -> None:
    light, dark = stages
    words = ["export", dark, "--out", tmp_path / "b", "--dataset", "folder", "--data", data, "--tile", 64]
    stage = ["--foreground", light, "--min-foreground", 0.1, "--json"]
    done = CliRunner().invoke(app, [str(word) for word in (*words, *stage)], catch_exceptions=False)
    manifest = Manifest.model_validate(json.loads(done.stdout)["manifest"])
    first = manifest.foreground
    assert first is not None
    assert (first.scale, first.margin_px, first.threshold, first.min_foreground) == (8, 16, 0.5, 0.1)
    assert "trained on 5 images of plates" in first.provenance.data
    assert first.provenance.model == "grey_models:light()"
    accuracy = first.graphs["fp32"].accuracy
    assert accuracy["defects_kept"] == 1
    # 300 x 240 px in blocks of 8, two blocks of margin on every side, the pit at the edge filled by it.
    assert accuracy["inspected"] == pytest.approx((300 + 4 + 32) * (240 + 32) / (400 * 480), rel=0.03)
    # The tray is dark too, so within the margin stage two is wrong; without stage one it would be wrong on all of it.
    assert manifest.graphs["fp32"].accuracy["recall"] == 1
    with Inspector(bundle := Bundle.open(tmp_path / "b"), open_engine(bundle)[0]) as inspector:
        sample = open_dataset("folder", data, "val")[0]
        assert not inspector.segment(sample.image)[:60].any()


def test_rendered_golden_tiles_show_no_image_of_the_data_set(stages: tuple[Path, Path], data: Path) -> None:
    job = foreground_job(ForegroundOptions(stages[0]), open_dataset("folder", data, "val"), "val", rendered=True)
    tiles = job.job.golden_tiles
    assert tiles is not None and tiles.shape == (2, 256, 256, 3)
    assert not any((tiles[0] == tile).all() for tile in job.job.tiles)


def test_a_first_stage_that_cannot_be_one_is_refused(stages: tuple[Path, Path], data: Path, tmp_path: Path) -> None:
    light, dark = stages
    parts = open_dataset("folder", data, "val")
    with pytest.raises(InputError, match=r"dark\.pt does not say how much .* \(got None, .* give --foreground-scale"):
        foreground_job(ForegroundOptions(dark), parts, "val")
    assert foreground_job(ForegroundOptions(dark, scale=2), parts, "val").margin_px == 4
    loaded = Checkpoint.load(light)
    two = dataclasses.replace(loaded, classes=("a", "b"), thresholds=(0.5, 0.5), thresholds_low=(), min_area_px=(1, 1))
    two.save(tmp_path / "two.pt")
    with pytest.raises(ExportError, match="stage one has one class, the part; its checkpoint has a, b"):
        export_checkpoint(dark, tmp_path / "b", options(data, ForegroundOptions(tmp_path / "two.pt")))
    assert not (tmp_path / "b").exists()


def test_options_of_a_stage_one_need_one(tmp_path: Path) -> None:
    words = ["export", "two.pt", "--out", str(tmp_path / "b"), "--dataset", "synthetic", "--foreground-scale", "4"]
    lost = CliRunner().invoke(app, words)
    assert isinstance(lost.exception, InputError) and "need --foreground STAGE1.pt" in str(lost.exception)
