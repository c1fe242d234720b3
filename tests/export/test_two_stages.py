"""A bundle of two stages, from its export to a station's results.

Stage two calls everything dark a defect, so the dark tray around the part counts too: only stage one keeps it out.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from trt_machine import Machine
from typer.testing import CliRunner

from jetspect.cli import app
from jetspect.errors import BundleError, ExportError, GoldenMismatchError
from jetspect.export.bundle import ExportJob, ForegroundJob, export_bundle
from jetspect.runtime.assembly import build_station
from jetspect.runtime.bundle import MANIFEST, SUMS, Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.device import build_engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.foreground import ForegroundSettings
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.manifest import ClassSpec
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.results import Verdict
from jetspect.runtime.settings import parse_settings

U8 = npt.NDArray[np.uint8]


def spotter(gain: float, classes: int = 1, kernel: int = 3) -> nn.Module:
    """A model whose logit is the mean grey of its window (mean and std taken off) times a gain."""
    conv = nn.Conv2d(3, classes, kernel, padding=kernel // 2)
    nn.init.constant_(conv.weight, gain / (3 * kernel * kernel))
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.AvgPool2d(2), nn.Upsample(scale_factor=2))


@pytest.fixture(scope="module")
def two_stages(job: Callable[..., ExportJob]) -> ExportJob:
    second = job(
        model=spotter(-6.0),
        classes=(ClassSpec(name="pit", min_area_px=4),),
        mean=(100.0,) * 3,
        std=(20.0,) * 3,
        description="Finds pits.",
    )
    first = replace(second, model=spotter(6.0), classes=(ClassSpec(name="part"),), measure=None, golden=1)
    return replace(second, foreground=ForegroundJob(first, scale=4, margin_px=6, min_foreground=0.02))


@pytest.fixture(scope="module")
def bundle(two_stages: ExportJob, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("export") / "two"
    export_bundle(replace(two_stages, measure_foreground=lambda _: {"defects_kept": 0.99}), out)
    return Bundle.open(out)


def scene(pits: int, *, part: bool = True) -> U8:
    """A bright part on a dark noisy tray, with dark pits of 10 x 10 px."""
    rng = np.random.default_rng(pits)
    image = rng.integers(20, 60, (400, 600, 3)).astype(np.uint8)
    if part:
        image[100:260, 150:420] = rng.integers(140, 200, (160, 270, 3))
    for n in range(pits):
        image[150:160, 180 + 60 * n : 190 + 60 * n] = 30
    return image


def test_the_bundle_holds_and_describes_both_stages(bundle: Bundle) -> None:
    first = bundle.manifest.foreground
    assert first is not None
    assert (first.scale, first.stride_px, first.margin_px, first.min_foreground) == (4, 2, 6, 0.02)
    assert {g.file for g in first.graphs.values()} == {"foreground.fp32.onnx", "foreground.fp16.onnx"}
    assert first.graphs["fp32"].parity.max_abs < 1e-5
    assert first.graphs["fp32"].accuracy == {"defects_kept": 0.99}
    assert bundle.foreground_golden().scores.shape == (1, 1, 64, 64)
    assert "Stage one" in bundle.file("MODEL_CARD.md").decode()
    shown = CliRunner().invoke(app, ["bundle", "show", str(bundle.path)])
    assert "stage one finds the part on the frame shrunk 4 times" in shown.output
    assert "stage one fp16" in shown.output


@pytest.mark.parametrize("pits", [0, 3])
def test_what_is_found_is_on_the_part_and_the_tray_is_never_looked_at(bundle: Bundle, pits: int) -> None:
    engine, golden = open_engine(bundle)
    assert "stage one's 1 within" in str(golden)
    settings = InspectorSettings.model_validate({"tiling": {"tile_px": 64}})
    with Inspector(bundle, engine, settings) as inspector:
        inspection = inspector.inspect(Frame(scene(pits), "one"))
        mask = inspector.foreground(scene(pits))
    assert len([d for d in inspection.defects if 140 < d.centroid_xy[1] < 170]) == pits
    assert inspection.tiles_skipped > inspection.tiles > 0
    assert inspection.timings.foreground_ms > 0
    assert mask is not None
    full = mask.full()
    assert full[100:260, 150:420].mean() > 250
    assert not full[:80].any() and not full[:, 460:].any()


def test_the_gated_map_is_the_full_one_under_the_mask_and_nothing_stays_behind(bundle: Bundle) -> None:
    off = InspectorSettings(foreground=ForegroundSettings(enabled=False))
    with Inspector(bundle, open_engine(bundle)[0]) as gated, Inspector(bundle, open_engine(bundle)[0], off) as plain:
        for image in (scene(2), scene(0, part=False), np.rot90(scene(3), 2).copy(), scene(1)):
            mask = gated.foreground(image)
            assert mask is not None
            assert (gated.score_map(image) == (plain.score_map(image) & mask.full())).all()


def test_a_frame_without_the_part_is_unknown_and_says_so(bundle: Bundle) -> None:
    with Inspector(bundle, open_engine(bundle)[0]) as inspector:
        inspection = inspector.inspect(Frame(scene(0, part=False), "empty"))
    assert inspection.verdict is Verdict.UNKNOWN
    assert inspection.reasons == ("no part in view: foreground covers 0.0 % of the frame, at least 2 % is needed",)
    aside = InspectorSettings.model_validate({"tiling": {"roi_xyxy": (0, 300, 600, 400)}})
    with Inspector(bundle, open_engine(bundle)[0], aside) as inspector:
        inspection = inspector.inspect(Frame(scene(1), "aside"))
    assert (inspection.verdict, "0.0 % of the region" in inspection.reasons[0]) == (Verdict.UNKNOWN, True)


def test_a_station_runs_both_stages_and_publishes_what_they_did(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, image in (("a", scene(0, part=False)), ("b", scene(2))):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), image)
    data = {
        "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": str(bundle.path), "precision": "fp16"},
        "source": {"kind": "folder", "path": str(tmp_path / "images")},
        "outbox": {"path": str(tmp_path / "outbox.sqlite")},
        "foreground": {"min_foreground": 0.1},
        "tiling": {"tile_px": 64},
        "verdict": {"max_defects": 0},
    }
    with build_station(parse_settings(data, StationConfig, where="test")) as running:
        assert running.run() == 2
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        empty, worn = (json.loads(row.payload) for row in outbox.pending(limit=10))
    assert (empty["verdict"], worn["verdict"]) == ("UNKNOWN", "NOK")
    assert "at least 10 % is needed" in empty["reasons"][0]
    assert worn["timings_ms"]["foreground"] > 0 and worn["tiles_skipped"] > 0


def test_beside_tensorrt_stage_one_runs_on_the_processor_and_says_so(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    machine.install()
    options = DeviceOptions(tile_px=64, batch=2, folder=tmp_path / "engines")
    build_engine(bundle, "fp16", options)
    engine, golden = open_engine(bundle, kind="tensorrt", precision="fp16", device=options)
    assert "stage one's 1 within" in str(golden)
    assert re.fullmatch(
        r"tensorrt 10\.13\.3\.9 fp16 on Orin \(sm_87, CUDA 12\.6\), stage one with onnxruntime \S+ fp32 on cpu x\d+",
        str(engine.info),
    )
    settings = InspectorSettings.model_validate({"tiling": {"tile_px": 64, "batch": 2}})
    with Inspector(bundle, engine, settings) as ours:
        found = ours.inspect(Frame(scene(3), "one"))
    plain, _ = open_engine(bundle, precision="fp16")
    with Inspector(bundle, plain, settings) as theirs:
        wanted = theirs.inspect(Frame(scene(3), "one"))
    assert [d.box_xyxy for d in found.defects] == [d.box_xyxy for d in wanted.defects] and found.defects
    assert found.tiles_skipped == wanted.tiles_skipped > 0


def test_closing_closes_both_engines_also_where_the_first_one_fails(bundle: Bundle) -> None:
    closed: list[str] = []

    class Noted:
        def __init__(self, name: str, fails: bool) -> None:
            self._name, self._fails = name, fails

        def close(self) -> None:
            closed.append(self._name)
            if self._fails:
                raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        StagedEngine(Noted("two", True), Noted("one", False)).close()  # type: ignore[arg-type]
    assert closed == ["two", "one"]
    engine, _ = open_engine(bundle)
    inspector = Inspector(bundle, engine)
    inspector.close()
    inspector.close()


def test_a_stage_one_that_drifted_may_not_go_live(bundle: Bundle) -> None:
    model = onnx.load_from_string(bundle.foreground_graph("fp32"))
    weight = next(t for t in model.graph.initializer if len(t.dims) == 4 and t.dims[1:] == [3, 3, 3])
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(0.5), weight.name))
    other = Bundle.open(bundle.path)
    other.foreground_graph = lambda _: model.SerializeToString()  # type: ignore[method-assign]
    with pytest.raises(GoldenMismatchError, match="1 of 1 golden tiles of stage one of small"):
        open_engine(other)


def test_a_bundle_of_one_stage_has_no_second_one() -> None:
    one = Bundle.open(Path(__file__).resolve().parents[2] / "bundles" / "metal-demo")
    assert one.manifest.foreground is None
    for ask in (lambda: one.foreground_graph("fp32"), one.foreground_golden):
        with pytest.raises(BundleError, match="has one stage only"):
            ask()


class Wide(nn.Module):
    """Answers in half the size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :1, ::2, ::2]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"classes": (ClassSpec(name="a"), ClassSpec(name="b"))}, "stage one has one class, the part; .* has a, b"),
        ({"golden": 9}, "stage one: golden must be 1 to 4"),
        ({"model": Wide()}, "in the same size"),
    ],
)
def test_a_stage_one_that_breaks_the_contract_leaves_nothing(
    two_stages: ExportJob, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    assert two_stages.foreground is not None
    first = replace(two_stages.foreground.job, **changes)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=says):
        export_bundle(replace(two_stages, foreground=replace(two_stages.foreground, job=first)), tmp_path / "b")
    assert not list(tmp_path.iterdir())


def _tampered(bundle: Bundle, tmp_path: Path, change: Callable[[dict[str, Any], Path], object]) -> Path:
    """A copy of the bundle, changed by someone who also wrote new sums."""
    folder = Path(shutil.copytree(bundle.path, tmp_path / "changed"))
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest, folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    files = sorted(p for p in folder.iterdir() if p.name != SUMS)
    (folder / SUMS).write_text("".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in files))
    return folder


def _three_classes(manifest: dict[str, Any], folder: Path) -> None:
    path = folder / "foreground.fp32.onnx"
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    path.write_bytes(model.SerializeToString())
    manifest["foreground"]["graphs"]["fp32"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m, f: (f / "foreground.fp16.onnx").unlink(), r"names foreground\.fp16\.onnx \(foreground fp16\)"),
        (lambda m, f: m["foreground"]["graphs"].pop("fp16"), "both stages need the same precisions"),
        (lambda m, f: m["foreground"].update(min_foreground=0), "foreground.min_foreground"),
        (lambda m, f: m["foreground"].update(stride_px=48), "must be a multiple of stride_px 48"),
        (lambda m, f: m["foreground"]["input"].update(mean=[1.0]), "need one value per channel"),
        (lambda m, f: m["foreground"]["graphs"]["fp32"].update(sha256="0" * 64), "not the foreground fp32 graph"),
        (_three_classes, r"returns scores_u8: uint8 .*; the manifest says uint8 scores N x 1 x T x T"),
    ],
)
def test_a_stage_one_that_contradicts_the_manifest_is_refused(
    bundle: Bundle, tmp_path: Path, change: Callable[[dict[str, Any], Path], object], says: str
) -> None:
    with pytest.raises(BundleError, match=says):
        Bundle.open(_tampered(bundle, tmp_path, change))


def test_golden_tiles_of_stage_one_that_are_not_there_are_missed(bundle: Bundle, tmp_path: Path) -> None:
    def strip(manifest: dict[str, Any], folder: Path) -> None:
        golden = dict(np.load(folder / "golden.npz"))
        del golden["foreground_scores"]
        np.savez_compressed(folder / "golden.npz", **golden)

    opened = Bundle.open(_tampered(bundle, tmp_path, strip))
    assert len(opened.golden().tiles)
    with pytest.raises(BundleError, match="holds no foreground_scores"):
        open_engine(opened)
