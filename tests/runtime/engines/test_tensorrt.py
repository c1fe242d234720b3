"""From a bundle to a running TensorRT engine, on a stand-in (fake_tensorrt.py)."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from trt_machine import OPTIONS, SHAPE, Machine, build, opened

from jetspect.errors import ConfigError, EngineError, InputError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import EngineSettings, StationConfig
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.cache import EngineStore, default_folder
from jetspect.runtime.engines.device import build_engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.settings import parse_settings

PITS = Path(__file__).resolve().parents[3] / "bundles" / "bsd-pitting"


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.13.3.9", "11.4.0.106"])
def test_an_engine_is_built_kept_loaded_again_and_gives_the_graph_s_answers(
    machine: Machine, small: Bundle, version: str
) -> None:
    machine.install(version)
    report = build(small)
    assert report.fresh and report.golden.max_levels <= 2
    again = build(small)
    assert not again.fresh and again.path == report.path

    tiles = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    with opened(small) as engine, open_engine(small)[0] as reference:
        assert not engine.dynamic and engine.tile_shape == SHAPE and engine.decisions is None
        assert str(engine.info) == f"tensorrt {version} fp32 on Orin (sm_87, CUDA 12.6)"
        assert np.abs(engine.run(tiles).astype(int) - reference.run(tiles)).max() <= 1
        summary = engine.layers()
    assert summary is not None and str(summary) == "3 layers; convolutions: 1 INT8, 1 FP16"
    assert [cuda.held for cuda in machine.cudas] == [set(), set(), set()], "all device memory is given back"
    assert all(cuda.closed for cuda in machine.cudas)


@pytest.mark.parametrize(
    ("version", "precision", "network", "flags"),
    [
        ("8.6.1", "fp32", 1, set()),
        ("8.6.1", "fp16", 1, {"FP16", "TF32"}),
        ("10.3.0", "fp32", 0, set()),
        ("10.3.0", "fp16", 0, {"FP16", "TF32"}),
        ("10.13.3.9", "fp16", 2, {"TF32"}),
        ("11.4.0.106", "fp32", 1, set()),
    ],
)
def test_each_version_is_asked_in_its_own_way(
    machine: Machine, small: Bundle, version: str, precision: Any, network: int, flags: set[str]
) -> None:
    faults = machine.install(version)
    build_engine(small, precision, OPTIONS)
    assert faults.network_flags == [network]
    (config,) = faults.configs
    assert config["flags"] == flags, "TF32 is off for fp32 only"
    assert config["verbosity"] == "DETAILED"
    assert config["workspace"] == 2 * 1024**3, "half of what is free"


def test_a_calibrated_int8_graph_gives_its_own_golden_answers(machine: Machine) -> None:
    faults = machine.install("10.3.0")
    report = build_engine(Bundle.open(PITS), "int8", DeviceOptions(tile_px=512))
    assert faults.configs[0]["flags"] == {"FP16", "INT8", "TF32"}
    assert report.golden.max_levels == 0, "tiles of 384 px prove an engine for 512"


def test_the_sidecar_tells_everything_in_words(machine: Machine, small: Bundle) -> None:
    report = build(small)
    told = json.loads(report.path.with_suffix(".json").read_text())
    assert told["bundle"].startswith("metal-demo ")
    key = told["key"]
    assert key["tensorrt"] == "10.13.3.9" and key["gpu"] == "Orin" and key["compute_capability"] == [8, 7]
    assert key["driver"] == [12, 6] and key["shape_nhwc"] == list(SHAPE) and key["typing"] == "strong"
    assert told["layers"]["int8"] == 1 and told["engine_bytes"] == report.path.stat().st_size
    assert told["steps"] == [{"opt_level": 3, "workspace_mib": 2048, "failed": None}]


def test_timings_of_one_build_help_the_next(machine: Machine, small: Bundle) -> None:
    build(small)
    build(small, batch=1)
    assert machine.faults.timings == [b"", b"+1"]
    machine.faults.timings_refused = True
    build(small, opt_level=2)
    assert machine.faults.timings[2:] == [b"+1+1", b""], "a cache that TensorRT refuses is measured again"


def test_frames_are_inspected_with_it_as_with_onnxruntime(machine: Machine, small: Bundle) -> None:
    settings = InspectorSettings.model_validate(
        {"tiling": {"tile_px": 384, "batch": 2}, "checks": {"min_sharpness": 0}}
    )
    image = np.random.default_rng(0).integers(60, 200, (500, 640, 3), np.uint8)
    build(small)
    with Inspector(small, opened(small), settings) as ours:
        scores = ours.score_map(image)
        inspection = ours.inspect(Frame(image, frame_id="f"))
    with Inspector(small, open_engine(small)[0], settings) as theirs:
        assert np.abs(scores.astype(int) - theirs.score_map(image)).max() <= 1
    assert inspection.model.engine.startswith("tensorrt 10.13.3.9 fp32 on Orin")


def test_a_station_runs_what_was_built_for_it(machine: Machine, metal_demo: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.random.default_rng(0).integers(60, 200, (500, 640, 3), np.uint8))
    data = {
        "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": str(metal_demo), "precision": "fp16"},
        "source": {"kind": "folder", "path": str(tmp_path / "images")},
        "engine": {"kind": "tensorrt", "folder": "engines", "opt_level": 2, "cuda_graph": True},
        "tiling": {"tile_px": 384},
        "checks": {"min_sharpness": 0},
    }
    config = parse_settings(data, StationConfig, where="test", base=tmp_path)
    with pytest.raises(
        EngineError,
        match=rf"jetspect build \S+ --precision fp16 --tile 384 --batch 1 --opt-level 2 --engine-dir {tmp_path}",
    ):
        build_station(config)
    bundle = Bundle.open(metal_demo)
    build_engine(bundle, "fp16", DeviceOptions(384, 1, tmp_path / "engines", opt_level=2))
    with build_station(config) as running:
        assert running.run() == 1
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        (told,) = (json.loads(row.payload) for row in outbox.pending(limit=10))
    assert told["model"]["engine"] == "tensorrt 10.13.3.9 fp16 on Orin (sm_87, CUDA 12.6)"
    assert machine.cudas[-1].closed and not machine.cudas[-1].held


def test_settings_of_another_engine_are_refused() -> None:
    with pytest.raises(ConfigError, match="cuda_graph is for kind tensorrt, this is onnxruntime: leave it out"):
        parse_settings({"cuda_graph": True}, EngineSettings, where="test")


def test_whole_frames_come_with_their_decision(machine: Machine, brightest: Any, tmp_path: Path) -> None:
    bundle = Bundle.open(brightest.write(tmp_path / "b"))
    report = build_engine(bundle, "fp32", DeviceOptions())
    assert report.sidecar.key.shape_nhwc == (1, 64, 128, 1)
    engine, _ = open_engine(bundle, kind="tensorrt")
    with engine:
        frame = np.full((1, 64, 128, 1), 77, np.uint8)
        frame[0, 5, 5] = 200
        scores = engine.run(frame)
        assert (scores[0, 0] == frame[0, :, :, 0]).all()
        assert engine.decisions is not None and engine.decisions.tolist() == [[200]]
    with pytest.raises(InputError, match="sees whole frames of 128 x 64 px, one per run; leave tile and batch out"):
        build_engine(bundle, "fp32", DeviceOptions(batch=2))


def test_a_run_can_be_replayed_as_a_graph(machine: Machine, small: Bundle) -> None:
    build(small)
    tiles = np.zeros(SHAPE, np.uint8)
    with opened(small) as plain, opened(small, cuda_graph=True) as replayed:
        assert (plain.run(tiles) == replayed.run(tiles)).all()
    assert [cuda.replays > 0 for cuda in machine.cudas] == [False, False, True]


def test_layers_are_timed(machine: Machine, small: Bundle) -> None:
    build(small)
    with opened(small) as engine:
        assert [(t.name, t.ms) for t in engine.layer_times(4)] == [("/enc/Conv", 0.5), ("/head/Conv", 0.25)]


def test_closing_twice_is_fine_and_a_closed_engine_says_so(machine: Machine, small: Bundle) -> None:
    build(small)
    engine = opened(small)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="is closed; open it again"):
        engine.enqueue()


def test_progress_is_shown_and_ctrl_c_ends_a_build(machine: Machine, small: Bundle) -> None:
    shown: list[tuple[str, int, int]] = []
    build_engine(small, "fp32", OPTIONS, show=lambda *told: shown.append(told))
    assert shown == [("Building", 1, 2), ("Building", 2, 2)], "inner phases are left out"

    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_engine(small, "fp32", OPTIONS, rebuild=True, show=pressed)

    def broken(*_: Any) -> None:
        raise OSError("no terminal")

    build_engine(small, "fp32", OPTIONS, rebuild=True, show=broken)


def test_one_build_at_a_time_holds_the_folder(machine: Machine) -> None:
    store = EngineStore(default_folder())
    with store.lock(), (store.folder / "build.lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
