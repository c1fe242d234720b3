"""Every system of the papers, small: trained for a few steps, exported to a bundle, and run in a station."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from jetspect.calibration import prepare
from jetspect.calibration.foreground import ForegroundOptions
from jetspect.calibration.prepare import ExportOptions, export_checkpoint
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.assembly import build_station
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.settings import load_settings, parse_settings
from jetspect.training.config import TrainConfig
from jetspect.training.loop import Trainer
from jetspect.training.refine import refine

# The largest encoder alone is traced for a minute on two busy cores.
pytestmark = pytest.mark.timeout(600)
CONFIGS = Path(__file__).resolve().parents[1] / "training" / "configs"
SHALLOW_ENCODER = {"encoder_depth": 2, "decoder_channels": [16, 8]}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "plain-unet": ("sink-unet.toml", {"width": 4}),
    "res50-unet": ("sink-unet.toml", SHALLOW_ENCODER),
    "effunet-b0": ("sink-unet.toml", SHALLOW_ENCODER),
    "effunet-b3": ("sink-unet.toml", SHALLOW_ENCODER),
    "effunet-b7": ("sink-unet.toml", SHALLOW_ENCODER),
    "partsnet": ("partsnet.toml", {"widths": [6, 8]}),
    "segdec": ("kolektor.toml", {"width": 0.125}),
}
"""Model -> its training file, and what makes it small."""
LARGE = ("res50-unet", "effunet-b3", "effunet-b7")
MODES = {"effunet": "blend", "segdec": "whole"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark spots on bright noise, and images without any."""
    root = tmp_path_factory.mktemp("spots") / "set"
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 4)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for n in range(count):
            mask = np.zeros((256, 256), np.uint8)
            for _ in range(4 if n % 2 else 0):
                centre = int(rng.integers(20, 236)), int(rng.integers(20, 236))
                cv2.circle(mask, centre, int(rng.integers(9, 16)), 255, -1)
            image = rng.integers(150, 220, (256, 256, 3), dtype=np.uint8)
            image[mask > 0] //= 4
            cv2.imwrite(str(root / split / "images" / f"{n}.png"), image)
            cv2.imwrite(str(root / split / "masks" / f"{n}.png"), mask)
    return root


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grey textured oval on a plain blue tray, half of the ovals with dark spots."""
    root = tmp_path_factory.mktemp("parts") / "set"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:480, :640]
    disc = ((y - 240) / 200) ** 2 + ((x - 320) / 250) ** 2 < 1
    for split, count in (("train", 6), ("val", 2)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for n in range(count):
            mask = np.zeros(disc.shape, np.uint8)
            for _ in range(4 if n % 2 else 0):
                centre = int(rng.integers(230, 410)), int(rng.integers(150, 330))
                cv2.circle(mask, centre, int(rng.integers(9, 16)), 255, -1)
            grey = rng.integers(120, 240, disc.shape)[:, :, None].repeat(3, axis=2)
            image = np.where(disc[:, :, None], grey, (110, 60, 20)).astype(np.uint8)
            image[mask > 0] //= 4
            cv2.imwrite(str(root / split / "images" / f"{n}.png"), image)
            cv2.imwrite(str(root / split / "masks" / f"{n}.png"), mask)
    return root


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(prepare, "GOLDEN_PX", 128)
    monkeypatch.setattr(prepare, "TEXTURE_PX", 384)
    before = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


def shrunk(name: str, data: Path) -> TrainConfig:
    """Return the shipped training file with the same parts, phases and losses, and a few steps of each."""
    file, kwargs = SMALL[name]
    shipped = load_settings(CONFIGS / file, TrainConfig).model_dump()
    shipped["data"] = {"dataset": "folder", "path": str(data)}
    shipped["model"] |= {"name": name, "kwargs": kwargs}
    shipped["crops"] |= {"size_wh": [128, 128] if shipped["crops"]["whole"] else [96, 96], "batch": 4}
    steps = 10 if name in LARGE else 30
    shipped["schedule"] |= {
        "steps": steps,
        "epochs": None,
        "validate_every": steps // 2,
        "save_every": steps,
        "learning_rate": 3e-3,
    }
    for phase in shipped["phases"]:
        phase |= {"steps": steps, "epochs": None}
    return parse_settings({**shipped, "threads": 1}, TrainConfig, where=file)


@pytest.mark.parametrize("name", LARGE)
def test_a_larger_encoder_trains_and_comes_back_as_it_was(name: str, data: Path, tmp_path: Path) -> None:
    """B0 and the plain U-Net go all the way below; tracing these takes up to a minute each and tells nothing else."""
    trainer = Trainer(shrunk(name, data), tmp_path / "run", progress=lambda *_: None)
    best = trainer.run()
    model = Checkpoint.load(best).build().eval()
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answer = model(images)
        assert answer.shape == (2, 1, 96, 96)
        assert torch.equal(Checkpoint.load(best).build().eval()(images), answer)
    assert answer.isfinite().all()
    assert answer.std() > 0


@pytest.mark.parametrize("name", [name for name in SMALL if name not in LARGE])
def test_a_system_goes_from_training_to_published_results(name: str, data: Path, tmp_path: Path) -> None:
    trainer = Trainer(shrunk(name, data), tmp_path / "run", progress=lambda *_: None)
    best = trainer.run()
    refine(best, trainer.validation, whole_wh=trainer.whole_wh)
    options = ExportOptions(dataset="folder", data=data, split="val", name=name, version="1.0")
    manifest = export_checkpoint(best, tmp_path / "bundle", options)
    assert manifest.graphs["fp16"].parity.mask_iou >= 0.99
    # Squeeze-and-excitation pools over the whole tile: only blending is honest there. A decision cannot be tiled at all.
    assert manifest.tiling.mode == MODES.get(name.partition("-")[0], "exact")
    assert Bundle.open(tmp_path / "bundle").manifest == manifest

    results = inspect(tmp_path, data / "val" / "images")
    assert [r["verdict"] in ("OK", "NOK") for r in results] == [True] * 4
    assert {r["model"]["name"] for r in results} == {name}
    assert ["decision" in r for r in results] == [name == "segdec"] * 4


def test_two_stages_go_from_two_trainings_to_published_results(parts: Path, tmp_path: Path) -> None:
    """d-fine: stage one learns the part from estimated masks, stage two the damage on it, with defects blended in."""
    for stage in ("part", "damage"):
        config = load_settings(CONFIGS / f"sheet-metal-{stage}.toml", TrainConfig).model_dump()
        config["data"] |= {"path": str(parts), "part_scale": 4 if stage == "part" else None}
        config["model"]["kwargs"] = {"width": 4, "max_width": 8}
        config["crops"] |= {"size_wh": [64, 64] if stage == "part" else [96, 96], "batch": 4}
        config["schedule"] |= {"steps": 120 if stage == "part" else 30, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9}
        settings = parse_settings({**config, "threads": 1}, TrainConfig, where=stage)
        trainer = Trainer(settings, tmp_path / stage)
        best = trainer.run()
        refine(best, trainer.validation, goal=settings.limits.goal, min_recall=settings.limits.min_recall)
    options = ExportOptions(
        dataset="folder",
        data=parts,
        split="val",
        name="dfine",
        version="1.0",
        foreground=ForegroundOptions(tmp_path / "part" / "best.pt", margin_px=8),
    )
    manifest = export_checkpoint(tmp_path / "damage" / "best.pt", tmp_path / "bundle", options)
    assert manifest.foreground is not None
    first = manifest.foreground.graphs["fp32"].accuracy
    assert first["defects_kept"] >= 0.9 and first["inspected"] < 0.9
    results = inspect(tmp_path, parts / "val" / "images")
    assert [r["verdict"] in ("OK", "NOK") for r in results] == [True] * 2


def inspect(folder: Path, images: Path) -> list[dict[str, Any]]:
    """Run a station with the bundle in a folder over images, and return what waits to be published."""
    station = parse_settings(
        {
            "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
            "bundle": {"path": str(folder / "bundle")},
            "source": {"kind": "folder", "path": str(images)},
            "outbox": {"path": str(folder / "outbox.sqlite")},
        },
        StationConfig,
        where="test",
    )
    with build_station(station) as running:
        assert running.run() == len(list(images.iterdir()))
    with Outbox(folder / "outbox.sqlite") as outbox:
        return [json.loads(row.payload) for row in outbox.pending(limit=10)]
