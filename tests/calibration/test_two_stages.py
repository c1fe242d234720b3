"""A two-stage bundle through calibration: stage two becomes INT8, stage one stays as it is and keeps its say."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from torch import Tensor, nn
from typer.testing import CliRunner

from jetspect.calibration.calibrate import calibrate
from jetspect.calibration.crops import select_crops
from jetspect.calibration.gate import Limits
from jetspect.calibration.options import CalibrateOptions
from jetspect.cli import app
from jetspect.evaluation.datasets import open_dataset
from jetspect.export.bundle import ExportJob, ForegroundJob, export_bundle
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.foreground import ForegroundSettings
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.manifest import ClassSpec, Precision, Provenance
from jetspect.runtime.results import Verdict

U8 = npt.NDArray[np.uint8]
Make = Callable[..., CalibrateOptions]
TILE_PX = 64


class Lit(nn.Module):
    """Stage one: whatever is brighter than the mean that is taken off belongs to the part."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)
        nn.init.constant_(self.conv.weight, 6 / 27)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x)
        return logits


@pytest.fixture(scope="module")
def uncalibrated(segmenter: nn.Module, blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = open_dataset("folder", blobs, "train")
    texture = np.concatenate([np.concatenate([data[2 * i + j].image for j in range(2)], axis=1) for i in range(3)])
    tiles = select_crops(data, 4, TILE_PX, channels=3).tiles
    first = ExportJob(
        model=Lit(),
        name="stage-one",
        version="1",
        classes=(ClassSpec(name="part"),),
        mean=(25.0,) * 3,
        std=(10.0,) * 3,
        tiles=tiles,
        texture=texture,
        provenance=Provenance(model="lit"),
        golden=1,
    )
    second = ExportJob(
        model=segmenter,
        name="two",
        version="1.0",
        classes=(ClassSpec(name="defect", threshold=0.5, threshold_low=0.4, min_area_px=3),),
        mean=(100.0,) * 3,
        std=(60.0,) * 3,
        tiles=tiles,
        texture=texture,
        provenance=Provenance(model="unet"),
        golden=2,
        foreground=ForegroundJob(first, scale=4, margin_px=8, min_foreground=0.02),
    )
    path = tmp_path_factory.mktemp("two") / "two"
    export_bundle(second, path)
    return path


@pytest.fixture(scope="module")
def calibrated(uncalibrated: Path, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = Path(shutil.copytree(uncalibrated, tmp_path_factory.mktemp("calibrated") / "two"))
    outcome = calibrate(path, options(method="min-max"))
    assert outcome.passed, outcome.faults
    return Bundle.open(path)


@pytest.fixture(scope="module")
def frame(blobs: Path) -> U8:
    """A part with defects in the middle of a dark tray."""
    image = np.random.default_rng(0).integers(0, 12, (288, 384, 3)).astype(np.uint8)
    data = open_dataset("folder", blobs, "val")
    image[96:192, 128:256] = next(
        s.image for s in (data[i] for i in range(len(data))) if s.mask is not None and s.mask.any()
    )
    return image


def test_stage_one_stays_as_it_is_and_has_a_graph_beside_each_of_stage_two(
    uncalibrated: Path, calibrated: Bundle
) -> None:
    first, before = calibrated.manifest.foreground, Bundle.open(uncalibrated)
    assert first is not None and before.manifest.foreground is not None
    assert {"fp32", "fp16", "int8", "int8-trt8"} <= set(calibrated.manifest.graphs) == set(first.graphs)
    # What computes in FP16 between its pairs has FP16 beside it; what is FP32 there has FP32.
    beside: dict[Precision, Precision] = {"fp32": "fp32", "fp16": "fp16", "int8": "fp16", "int8-trt8": "fp32"}
    for precision, kept in beside.items():
        assert calibrated.foreground_graph(precision) == before.foreground_graph(kept)
    assert {g.file for g in first.graphs.values()} == {"foreground.fp32.onnx", "foreground.fp16.onnx"}
    assert first.model_copy(update={"graphs": {}}) == before.manifest.foreground.model_copy(update={"graphs": {}})
    golden = calibrated.foreground_golden(), before.foreground_golden()
    assert np.array_equal(golden[0].tiles, golden[1].tiles) and np.array_equal(golden[0].scores, golden[1].scores)


@pytest.mark.parametrize("precision", ["int8", "int8-trt8"])
def test_a_frame_runs_through_both_stages(calibrated: Bundle, frame: U8, precision: Precision) -> None:
    settings = InspectorSettings.model_validate({"tiling": {"tile_px": TILE_PX}, "verdict": {"max_defects": 0}})
    engine, golden = open_engine(calibrated, precision=precision)
    assert "stage one's 1 within" in str(golden)
    with Inspector(calibrated, engine, settings) as inspector:
        inspection = inspector.inspect(Frame(frame, "one"))
        mask = inspector.foreground(frame)
    with Inspector(calibrated, open_engine(calibrated)[0], settings) as inspector:
        wanted = inspector.inspect(Frame(frame, "one"))
    assert inspection.model.precision == precision
    assert inspection.verdict is wanted.verdict is Verdict.NOK
    ours, theirs = (max(found.defects, key=lambda d: d.area_px) for found in (inspection, wanted))
    assert ours.centroid_xy == pytest.approx(theirs.centroid_xy, abs=1)
    assert ours.area_px == pytest.approx(theirs.area_px, rel=0.2)
    assert inspection.tiles_skipped == wanted.tiles_skipped > 0
    assert mask is not None and mask.full()[100:188, 132:252].all() and not mask.full()[:80].any()


def test_the_int8_map_is_cut_to_the_part(calibrated: Bundle, frame: U8) -> None:
    off = InspectorSettings(foreground=ForegroundSettings(enabled=False))
    with Inspector(calibrated, open_engine(calibrated, precision="int8")[0]) as gated:
        mask = gated.foreground(frame)
        assert mask is not None
        ours = gated.score_map(frame)
    with Inspector(calibrated, open_engine(calibrated, precision="int8")[0], off) as plain:
        assert (ours == (plain.score_map(frame) & mask.full())).all()


def test_a_frame_without_the_part_is_unknown_in_int8_too(calibrated: Bundle) -> None:
    tray = np.random.default_rng(0).integers(0, 12, (288, 384, 3)).astype(np.uint8)
    tray[::5, ::5] = 90  # specks, or the input checks call it black and blurred
    with Inspector(calibrated, open_engine(calibrated, precision="int8")[0]) as inspector:
        inspection = inspector.inspect(Frame(tray, "empty"))
    assert inspection.verdict is Verdict.UNKNOWN and "no part in view" in inspection.reasons[0]


def test_a_graph_that_is_left_out_is_left_out_of_both_stages_and_comes_back(
    calibrated: Bundle, options: Make, tmp_path: Path
) -> None:
    class NotForProcessorsOrOldTensorRt(Limits):
        def faults(self, fp32: object, other: object) -> tuple[str, ...]:
            return () if getattr(other, "name", "") == "int8" else ("it loses too much",)

    path = Path(shutil.copytree(calibrated.path, tmp_path / "two"))
    outcome = calibrate(path, options(method="min-max", limits=NotForProcessorsOrOldTensorRt()))
    assert outcome.passed
    manifest = Bundle.open(path).manifest
    assert manifest.foreground is not None
    assert set(manifest.graphs) == set(manifest.foreground.graphs) == {"fp32", "fp16", "int8"}
    assert not (path / "model.int8-trt8.onnx").exists()
    calibrate(path, options(method="min-max"))
    again = Bundle.open(path).manifest
    assert again.foreground is not None and "int8-trt8" in again.graphs and "int8-trt8" in again.foreground.graphs


def test_the_commands_take_it(uncalibrated: Path, blobs: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(uncalibrated, tmp_path / "two"))
    words = ["calibrate", path, "--data", blobs, "--crops", 16, "--tile", TILE_PX, "--judge-tiles", 8]
    more = ["--method", "min-max", "--min-int8", "0.3", "--max-iou-drop", "0.05", "--max-recall-drop", "0.1"]
    ran = CliRunner().invoke(app, [*map(str, words), *more])
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "two-calibration.html").is_file()
    linted = CliRunner().invoke(app, ["bundle", "lint", str(path)])
    assert linted.exit_code == 0, linted.output
    shown = CliRunner().invoke(app, ["bundle", "show", str(path)])
    assert "stage one int8" in shown.output
