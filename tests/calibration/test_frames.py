"""Whole frames for a model that decides: chosen from both kinds, of one size, and judged by counting wrong decisions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from jetspect.calibration.expressive import rendered_tiles
from jetspect.calibration.frames import frame_size, select_frames
from jetspect.calibration.prepare import BareWeights, ExportOptions, export_checkpoint
from jetspect.cli import app
from jetspect.errors import DataSetError, InputError
from jetspect.evaluation.datasets import open_dataset
from jetspect.models.checkpoint import Checkpoint
from jetspect.models.segdec import SegDecNet
from jetspect.models.unet import UNet
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.whole import fit_frame

FRAME_WH = (128, 64)


class Brightest(nn.Module):
    """Locates what is bright and decides by the brightest block: wrong decisions are known beforehand."""

    whole_frame = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mask = nn.functional.avg_pool2d(x, 8) * self.weight
        return mask, mask.amax(dim=(2, 3))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight grey images: 1 and 5 are defective and bright, 3 defective but dark, 4 clean but bright."""
    root = tmp_path_factory.mktemp("frames") / "set"
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / "val" / kind).mkdir(parents=True)
    for number in range(8):
        image = rng.integers(0, 100, (128, 256), np.uint8)
        mask = np.zeros((128, 256), np.uint8)
        if number in (1, 3, 5):
            mask[32:96, 64:128] = 255
        if number in (1, 4, 5):
            image[32:96, 64:128] = 230
        cv2.imwrite(str(root / "val" / "images" / f"{number}.png"), image)
        cv2.imwrite(str(root / "val" / "masks" / f"{number}.png"), mask)
    return root


def checkpoint(**changes: object) -> Checkpoint:
    torch.manual_seed(0)
    kwargs = {"width": 0.0625}
    model = SegDecNet(**kwargs)
    with torch.no_grad():  # without statistics of its features an untrained network answers the same everywhere
        for _ in range(30):
            model.train()(torch.rand(4, 1, FRAME_WH[1], FRAME_WH[0]))
    whole = Checkpoint(
        model="segdec",
        kwargs=kwargs,
        classes=("crack",),
        channels=1,
        mean=(50.0,),
        std=(30.0,),
        state_dict=model.state_dict(),
        thresholds=(0.5,),
        thresholds_low=(0.5,),
        min_area_px=(1,),
        frame_wh=FRAME_WH,
        decision_threshold=0.3,
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def options(data: Path, **changes: object) -> ExportOptions:
    parts = {"dataset": "folder", "data": data, "split": "val", "name": "whole", "version": "1.0"}
    return ExportOptions(**{**parts, **changes})  # type: ignore[arg-type]


def test_frames_are_defective_and_clean_in_turn_and_fitted_as_a_station_does(data: Path) -> None:
    images = open_dataset("folder", data, "val")
    chosen = select_frames(images, 5, FRAME_WH, channels=1)
    assert [c.stratum for c in chosen.crops] == ["defective", "clean"] * 2 + ["defective"]
    assert len({c.sample_id for c in chosen.crops}) == 5
    assert chosen.tiles.shape == (5, 64, 128, 1)
    first = images[list(images.ids).index(chosen.crops[0].sample_id)].image
    assert np.array_equal(chosen.tiles[0], fit_frame(first, FRAME_WH, 1))
    again = select_frames(images, 5, FRAME_WH, channels=1)
    assert again.crops == chosen.crops
    every = select_frames(images, 50, FRAME_WH, channels=3)
    assert (every.strata, every.tiles.shape) == ({"clean": 5, "defective": 3}, (8, 64, 128, 3))


def test_too_few_frames_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=r"at least 2 frames are needed .* got 1"):
        select_frames(open_dataset("folder", data, "val"), 1, FRAME_WH, channels=1)
    for kind in ("images", "masks"):
        (tmp_path / "val" / kind).mkdir(parents=True)
        (tmp_path / "val" / kind / "0.png").write_bytes((data / "val" / kind / "0.png").read_bytes())
    with pytest.raises(DataSetError, match="has 1 labelled images in this split, at least 2 are needed"):
        select_frames(open_dataset("folder", tmp_path, "val"), 4, FRAME_WH, channels=1)


@pytest.mark.parametrize(
    ("known", "given", "model", "says"),
    [
        (None, None, "segdec", "sees whole frames, and its checkpoint does not say their size; give --frame"),
        ((128, 64), (64, 128), "segdec", "trained on frames of 128 x 64 px, not 64 x 128; leave --frame out"),
        (None, (128, 64), "unet", "model unet is tiled and sees no whole frames"),
        ((128, 64), None, "unet", "model unet is tiled and sees no whole frames"),
    ],
)
def test_a_frame_size_that_cannot_be_meant_is_refused(
    known: tuple[int, int] | None, given: tuple[int, int] | None, model: str, says: str
) -> None:
    network = SegDecNet(width=0.0625) if model == "segdec" else UNet(1, 1, width=4, depth=1)
    with pytest.raises(InputError, match=says):
        frame_size(checkpoint(frame_wh=known, model=model), network, given)


def test_the_frame_size_comes_from_the_checkpoint_or_else_from_the_command() -> None:
    model = SegDecNet(width=0.0625)
    assert frame_size(checkpoint(), model, None) == frame_size(checkpoint(), model, FRAME_WH) == FRAME_WH
    assert frame_size(checkpoint(frame_wh=None), model, (704, 256)) == (704, 256)
    assert frame_size(checkpoint(frame_wh=None), UNet(1, 1, width=4, depth=1), None) is None


def test_the_manifest_counts_the_wrong_decisions_of_the_finished_graph(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bare weights of a user's own model: 3 is missed for being dark, 4 is called defective for being bright."""
    (tmp_path / "bright_frames.py").write_text(
        "def make():\n    from __main__ import _Brightest\n    return _Brightest()\n"
    )
    monkeypatch.setitem(__import__("sys").modules["__main__"].__dict__, "_Brightest", Brightest)
    monkeypatch.syspath_prepend(str(tmp_path))
    torch.save(Brightest().state_dict(), tmp_path / "weights.pt")
    bare = BareWeights.parse("bright_frames:make", "bright", "165", "50")
    with pytest.raises(InputError, match="give --frame, for example 704x256"):
        export_checkpoint(tmp_path / "weights.pt", tmp_path / "b", options(data, bare=bare))
    asked = options(data, bare=bare, frame_wh=FRAME_WH)
    manifest = export_checkpoint(tmp_path / "weights.pt", tmp_path / "b", asked)
    accuracy = manifest.graphs["fp32"].accuracy
    assert (accuracy["image_fp"], accuracy["image_fn"], accuracy["n"]) == (1, 1, 8)
    assert manifest.output.decision is not None and manifest.output.decision.threshold == 0.5
    assert Bundle.open(tmp_path / "b").manifest == manifest


def test_a_checkpoint_goes_to_a_verdict_by_commands_alone(data: Path, tmp_path: Path) -> None:
    run = CliRunner()
    checkpoint().save(tmp_path / "best.pt")
    source = ("--dataset", "folder", "--data", str(data), "--out", str(tmp_path / "b"))
    with pytest.raises(InputError, match="--frame is WIDTHxHEIGHT in px, for example 704x256; got '704'"):
        run.invoke(app, ["export", str(tmp_path / "best.pt"), *source, "--frame", "704"], catch_exceptions=False)
    done = run.invoke(app, ["export", str(tmp_path / "best.pt"), *source], catch_exceptions=False)
    assert "sees whole frames resized to 128 x 64 px; never tiled" in done.output
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["output"]["decision"]["threshold"] == 0.3
    inspected = run.invoke(app, ["inspect", str(tmp_path / "b"), str(data / "val" / "images" / "1.png"), "--json"])
    (answer,) = json.loads(inspected.stdout)["inspections"]
    assert answer["verdict"] == ("NOK" if answer["decision"] >= 0.3 else "OK")


def test_golden_frames_can_be_rendered_at_their_own_size() -> None:
    tiles = rendered_tiles(lambda t: t.astype(np.float32).transpose(0, 3, 1, 2), 2, (96, 64), 1)
    assert tiles.shape == (2, 64, 96, 1)
