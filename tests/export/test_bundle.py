"""From a model to a bundle that a device can trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from jetspect.errors import ExportError
from jetspect.export.bundle import ExportJob, export_bundle
from jetspect.models.unet import UNet
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.manifest import ClassSpec, Precision
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import ScoreMapper

Job = Callable[..., ExportJob]
ONE_CLASS = (ClassSpec(name="a"),)


@pytest.fixture(scope="module")
def exported(job: Job, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("export") / "small"
    export_bundle(job(notes="Some notes.", description="Finds things."), out)
    return Bundle.open(out)


def test_the_bundle_says_what_was_measured(exported: Bundle, job: Job) -> None:
    manifest = exported.manifest
    assert (manifest.tiling.mode, manifest.tiling.stride_px) == ("exact", 4)
    assert manifest.tiling.halo_error <= 1e-4
    assert manifest.graphs["fp32"].parity.max_abs < 1e-5
    assert manifest.graphs["fp32"].parity.mask_iou == 1
    assert manifest.graphs["fp32"].parity.max_abs < manifest.graphs["fp16"].parity.max_abs < 0.02
    assert {"jetspect", "torch", "onnx", "onnxruntime"} == set(manifest.provenance.tools)
    assert np.array_equal(exported.golden().tiles, job().tiles[:2])
    report = json.loads(exported.file("report.json"))
    assert report["tiles"] == ["one at 0,0"]
    assert "BatchNormalization" not in report["operators"]["fp32"]
    card = exported.file("MODEL_CARD.md").decode()
    assert "Some notes." in card and "Finds things." in card


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_both_graphs_open_and_prove_themselves(exported: Bundle, precision: Precision) -> None:
    engine, report = open_engine(exported, precision=precision)
    with engine:
        assert report.tiles == 2


def test_a_frame_scored_tile_by_tile_is_the_frame_scored_at_once(exported: Bundle, job: Job) -> None:
    """Through the runtime, in levels: only a score on the edge of a level may fall to the other side."""
    frame = job().texture[:, :236]
    tiling = exported.manifest.tiling
    engine, _ = open_engine(exported)
    with engine:
        small = TilingSettings(tile_px=2 * tiling.halo_px + 2 * tiling.stride_px)
        tiled = ScoreMapper(exported.manifest, engine, small).score(frame)
        assert len(tiled.grid.tiles) > 100
        whole = engine.run(frame[None].copy())[0]
        assert np.abs(tiled.score_map.astype(int) - whole).max() <= 1


def test_the_inspector_runs_an_exported_bundle(exported: Bundle, job: Job) -> None:
    engine, _ = open_engine(exported)
    with Inspector(exported, engine) as inspector:
        inspection = inspector.inspect(Frame(job().texture, "one"))
    assert inspection.model.manifest_sha256 == exported.manifest_sha256


def test_the_same_job_gives_the_same_files(
    job: Job, trained: Callable[..., nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    small = job(model=trained(nn.Conv2d(3, 2, 3, padding=1)))
    for name in ("one", "two"):
        export_bundle(small, tmp_path / name)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two
    assert Bundle.open(tmp_path / "one").manifest.created.isoformat() == "2023-11-14T22:13:20+00:00"


def test_accuracy_measured_on_the_finished_graphs_goes_into_manifest_and_card(
    job: Job, trained: Callable[..., nn.Module], tmp_path: Path
) -> None:
    def measure(bundle: Bundle) -> dict[str, float]:
        engine, _ = open_engine(bundle)
        engine.close()
        return {"iou": 0.75}

    steps: list[str] = []
    small = job(model=trained(nn.Conv2d(3, 2, 1)), measure=measure)
    manifest = export_bundle(small, tmp_path / "b", report=steps.append)
    assert manifest.graphs["fp32"].accuracy == {"iou": 0.75}
    assert Bundle.open(tmp_path / "b").manifest == manifest
    assert "| iou | 0.75 |" in (tmp_path / "b" / "MODEL_CARD.md").read_text()
    assert steps[-2:] == ["measuring accuracy", "writing and verifying"]


def test_a_model_with_instance_norm_becomes_a_blended_bundle(
    job: Job, trained: Callable[..., nn.Module], tmp_path: Path
) -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.InstanceNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    manifest = export_bundle(job(model=trained(body)), tmp_path / "b")
    assert manifest.tiling.mode == "blend"
    engine, _ = open_engine(Bundle.open(tmp_path / "b"))
    with Inspector(Bundle.open(tmp_path / "b"), engine) as inspector:
        assert inspector.segment(np.tile(job().texture, (3, 3, 1))).shape == (768, 768)


class Drifting(nn.Module):
    """Answers differently each time: no graph can be the same model."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 1, 1), 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1.0
        answer: Tensor = self.conv(x) + self.calls % 5.0
        return answer


class Several(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return {"out": super().forward(x)}  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": UNet(1, 2, width=4, depth=1)}, "no tile of 3 channels .* to have 1 channels, but got 3"),
        ({"model": UNet(3, 3, width=4, depth=1)}, r"answers \(1, 3, 64, 64\) .* is needed for the 2 classes given"),
        (
            {"model": UNet(3, 2, width=4, depth=1, stem_stride=4), "tiles": np.zeros((2, 68, 68, 3), np.uint8)},
            "68 px do not fit",
        ),
        ({"model": Drifting(), "classes": ONE_CLASS}, "the fp32 graph differs from the model"),
        ({"model": Several(3, 2, 1)}, "no tile of 3 channels"),
        ({"tile_px": 63}, "tile 63 px must be a multiple of the stride 4"),
        ({"name": "No Name"}, "name 'No Name'"),
    ],
)
def test_a_model_that_breaks_the_contract_is_refused_and_leaves_nothing(
    job: Job, tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ExportError, match=says) as caught:
        export_bundle(job(**changes), tmp_path / "b")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_refused_before_any_work(job: Job, tmp_path: Path) -> None:
    steps: list[str] = []
    with pytest.raises(ExportError, match="exists"):
        export_bundle(job(), tmp_path, report=steps.append)
    assert steps == []
