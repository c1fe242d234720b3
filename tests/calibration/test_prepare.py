"""From a checkpoint and a labelled folder to a bundle with measured accuracy."""

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

from jetspect.calibration import prepare
from jetspect.calibration.prepare import BareWeights, ExportOptions, class_specs, export_checkpoint, mosaic
from jetspect.errors import DataSetError, ExportError, InputError
from jetspect.evaluation.datasets import open_dataset
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.inspector import Inspector


class Bright(nn.Module):
    """Says defect where the picture is bright: a model whose accuracy is known beforehand."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        nn.init.constant_(self.conv.weight, 10 / 3)
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
    """Dark noise with bright rectangles, and their masks."""
    root = tmp_path_factory.mktemp("data") / "set"
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / "val" / kind).mkdir(parents=True)
    for number in range(6):
        image = rng.integers(0, 100, (200, 240, 3), np.uint8)
        mask = np.zeros((200, 240), np.uint8)
        if number % 3:
            y, x = rng.integers(10, 120, 2)
            mask[y : y + 10 * number, x : x + 20] = 255
        image[mask > 0] = 230
        cv2.imwrite(str(root / "val" / "images" / f"{number}.png"), image)
        cv2.imwrite(str(root / "val" / "masks" / f"{number}.png"), mask)
    return root


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """Of a model that stands in a module of the user's, as ``module:factory``."""
    (tmp_path / "bright_model.py").write_text("from bright_base import Bright\n\ndef make():\n    return Bright()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "bright_base", types.SimpleNamespace(Bright=Bright))
    monkeypatch.delitem(sys.modules, "bright_model", raising=False)
    return Checkpoint(
        model="bright_model:make",
        kwargs={},
        classes=("defect",),
        channels=3,
        mean=(165.0,) * 3,
        std=(50.0,) * 3,
        state_dict=Bright().state_dict(),
        thresholds=(0.5,),
        thresholds_low=(0.4,),
        min_area_px=(3,),
        info={"dataset": "drawn", "train_images": 12},
    )


def options(data: Path, **changes: object) -> ExportOptions:
    parts = {"dataset": "folder", "data": data, "split": "val", "name": "bright", "version": "1.0"}
    return ExportOptions(**{**parts, **changes})  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "GOLDEN_PX", 96)
    monkeypatch.setattr(prepare, "TEXTURE_PX", 256)


def test_a_checkpoint_becomes_a_bundle_that_finds_what_the_model_finds(
    checkpoint: Checkpoint, data: Path, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "best.pt")
    (tmp_path / "notes.md").write_text("Drawn by a test.")
    steps: list[str] = []
    manifest = export_checkpoint(
        tmp_path / "best.pt",
        tmp_path / "b",
        options(data, notes=tmp_path / "notes.md", command="jetspect export"),
        report=steps.append,
    )
    bundle = Bundle.open(tmp_path / "b")
    assert bundle.manifest == manifest
    spec = manifest.output.classes[0]
    assert (spec.name, spec.threshold, spec.threshold_low, spec.min_area_px) == ("defect", 0.5, 0.4, 3)
    assert manifest.graphs["fp32"].accuracy["iou"] == 1
    assert manifest.graphs["fp32"].accuracy["n"] == 6
    assert manifest.provenance.model == "bright_model:make()"
    assert manifest.provenance.data.startswith("trained on 12 images of drawn (train); ")
    assert "Drawn by a test." in bundle.file("MODEL_CARD.md").decode()
    origins = json.loads(bundle.file("report.json"))["tiles"]
    assert any("clean" in o for o in origins) and any("defect large" in o for o in origins)
    sample = open_dataset("folder", data, "val")[1]
    engine, _ = open_engine(bundle)
    with Inspector(bundle, engine) as inspector:
        assert sample.mask is not None
        assert np.array_equal(inspector.segment(sample.image) > 0, sample.mask > 0)
    assert "measuring accuracy" in steps


def test_bare_weights_become_a_bundle_with_what_the_command_adds(
    checkpoint: Checkpoint, data: Path, tmp_path: Path
) -> None:
    torch.save({"epoch": 3, "state_dict": checkpoint.state_dict}, tmp_path / "weights.pt")
    bare = BareWeights.parse("bright_model:make", "defect", "165,165,165", "50,50,50")
    manifest = export_checkpoint(tmp_path / "weights.pt", tmp_path / "b", options(data, bare=bare))
    assert manifest.graphs["fp32"].accuracy["iou"] == 1


def test_what_does_not_fit_is_refused_by_name_and_leaves_nothing(
    checkpoint: Checkpoint, data: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "best.pt", tmp_path / "b"
    cases: list[tuple[dict[str, object], type[Exception], str]] = [
        ({"state_dict": {}}, InputError, r"lacks conv\.bias, conv\.weight"),
        ({"state_dict": {k: v * float("nan") for k, v in checkpoint.state_dict.items()}}, InputError, "holds NaN"),
        ({"model": "bright_model:gone"}, InputError, "module bright_model has no gone"),
        ({"model": "builtins:int"}, InputError, r"makes a int, a torch\.nn\.Module is needed"),
        ({"classes": ("Big\tDefect",)}, InputError, r"class 'Big\\tDefect' cannot go into a bundle: name: "),
        (
            {"classes": ("a", "b"), "thresholds": (0.5, 0.5), "thresholds_low": (), "min_area_px": (1, 1)},
            ExportError,
            "is needed for the 2 classes",
        ),
        ({"channels": 1, "mean": (165.0,), "std": (50.0,)}, ExportError, "no tile of 1 channels"),
    ]
    for changes, kind, says in cases:
        dataclasses.replace(checkpoint, **changes).save(path)  # type: ignore[arg-type]
        with pytest.raises(kind, match=says) as caught:
            export_checkpoint(path, out, options(data))
        assert "\n" not in str(caught.value)
        assert not out.exists()
    checkpoint.save(path)
    with pytest.raises(DataSetError, match="does not exist"):
        export_checkpoint(path, out, options(data / "gone"))
    with pytest.raises(InputError, match=r"notes .*gone\.md cannot be read"):
        export_checkpoint(path, out, options(data, notes=tmp_path / "gone.md"))


@pytest.mark.parametrize(
    ("classes", "mean", "std", "says"),
    [
        (None, "1", "1", "need --model, --classes, --mean and --std together"),
        ("a", "one", "1", "numbers separated by commas"),
        ("a", "1,2", "1,2", "1 or 3 numbers each"),
        ("a", "1", "0", "std above 0"),
    ],
)
def test_incomplete_options_for_bare_weights_are_refused(classes: str | None, mean: str, std: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        BareWeights.parse("unet", classes, mean, std)


def test_limits_a_bundle_cannot_carry_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="must not exceed threshold"):
        class_specs(dataclasses.replace(checkpoint, thresholds_low=(0.9,)))


def test_the_mosaic_is_full_of_texture(data: Path) -> None:
    canvas = mosaic(open_dataset("folder", data, "val"), 3, edge=512)
    assert canvas.shape == (512, 512, 3)
    blocks = canvas.reshape(16, 32, 16, 32, 3).std(axis=(1, 3, 4))
    assert blocks.min() > 0
