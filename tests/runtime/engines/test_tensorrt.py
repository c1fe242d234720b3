"""From a bundle to a running TensorRT engine, on a stand-in (fake_tensorrt.py): the way, and every way it fails."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import ConfigError, EngineError, GoldenMismatchError, InputError, MissingDependencyError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import EngineSettings, StationConfig
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.cache import EngineStore, default_folder
from jetspect.runtime.engines.device import BuildReport, DeviceOptions, build_engine, open_cuda
from jetspect.runtime.engines.tensorrt import TensorRtEngine
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.settings import parse_settings

PITS = Path(__file__).resolve().parents[3] / "bundles" / "bsd-pitting"
SHAPE = (2, 384, 384, 3)
OPTIONS = DeviceOptions(tile_px=384, batch=2)


def build(bundle: Bundle, **changes: Any) -> BuildReport:
    return build_engine(bundle, "fp32", dataclasses.replace(OPTIONS, **changes))


def opened(bundle: Bundle, **changes: Any) -> TensorRtEngine:
    engine, _ = open_engine(bundle, kind="tensorrt", device=dataclasses.replace(OPTIONS, **changes))
    assert isinstance(engine, TensorRtEngine)
    return engine


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0", "10.13.3.9", "11.4.0.106"])
def test_an_engine_is_built_kept_loaded_again_and_gives_the_graph_s_answers(
    machine: Any, small: Bundle, version: str
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
    machine: Any, small: Bundle, version: str, precision: Any, network: int, flags: set[str]
) -> None:
    faults = machine.install(version)
    build_engine(small, precision, OPTIONS)
    assert faults.network_flags == [network]
    (config,) = faults.configs
    assert config["flags"] == flags, "TF32 is off for fp32 only"
    assert config["verbosity"] == "DETAILED"
    assert config["workspace"] == 2 * 1024**3, "half of what is free"


def test_a_calibrated_int8_graph_gives_its_own_golden_answers(machine: Any) -> None:
    faults = machine.install("10.3.0")
    report = build_engine(Bundle.open(PITS), "int8", DeviceOptions(tile_px=512))
    assert faults.configs[0]["flags"] == {"FP16", "INT8", "TF32"}
    assert report.golden.max_levels == 0, "tiles of 384 px prove an engine for 512"


def test_the_sidecar_tells_everything_in_words(machine: Any, small: Bundle) -> None:
    report = build(small)
    told = json.loads(report.path.with_suffix(".json").read_text())
    assert told["bundle"].startswith("metal-demo ")
    key = told["key"]
    assert key["tensorrt"] == "10.13.3.9" and key["gpu"] == "Orin" and key["compute_capability"] == [8, 7]
    assert key["driver"] == [12, 6] and key["shape_nhwc"] == list(SHAPE) and key["typing"] == "strong"
    assert told["layers"]["int8"] == 1 and told["engine_bytes"] == report.path.stat().st_size
    assert told["steps"] == [{"opt_level": 3, "workspace_mib": 2048, "failed": None}]


def test_timings_of_one_build_help_the_next(machine: Any, small: Bundle) -> None:
    build(small)
    build(small, batch=1)
    assert machine.faults.timings == [b"", b"+1"]
    machine.faults.timings_refused = True
    build(small, opt_level=2)
    assert machine.faults.timings[2:] == [b"+1+1", b""], "a cache that TensorRT refuses is measured again"


def test_frames_are_inspected_with_it_as_with_onnxruntime(machine: Any, small: Bundle) -> None:
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


def test_a_station_runs_what_was_built_for_it(machine: Any, metal_demo: Path, tmp_path: Path) -> None:
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


def test_whole_frames_come_with_their_decision(machine: Any, brightest: Any, tmp_path: Path) -> None:
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


def test_a_run_can_be_replayed_as_a_graph(machine: Any, small: Bundle) -> None:
    build(small)
    tiles = np.zeros(SHAPE, np.uint8)
    with opened(small) as plain, opened(small, cuda_graph=True) as replayed:
        assert (plain.run(tiles) == replayed.run(tiles)).all()
    assert [cuda.replays > 0 for cuda in machine.cudas] == [False, False, True]


def test_layers_are_timed(machine: Any, small: Bundle) -> None:
    build(small)
    with opened(small) as engine:
        assert [(t.name, t.ms) for t in engine.layer_times(4)] == [("/enc/Conv", 0.5), ("/head/Conv", 0.25)]


def test_closing_twice_is_fine_and_a_closed_engine_says_so(machine: Any, small: Bundle) -> None:
    build(small)
    engine = opened(small)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="is closed; open it again"):
        engine.enqueue()


def test_another_batch_or_tile_is_refused(machine: Any, small: Bundle) -> None:
    build(small)
    with opened(small) as engine:
        for wrong in (
            np.zeros((1, *SHAPE[1:]), np.uint8),
            np.zeros(SHAPE, np.float32),
            np.zeros(SHAPE[::-1], np.uint8).T,
        ):
            with pytest.raises(EngineError, match=r"built for contiguous uint8 tiles \(2, 384, 384, 3\), got"):
                engine.run(wrong)


def test_progress_is_shown_and_ctrl_c_ends_a_build(machine: Any, small: Bundle) -> None:
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


def test_a_station_without_its_engine_is_told_the_command(machine: Any, small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        opened(small, folder=tmp_path / "other", opt_level=5)
    assert re.search(
        r"has no fp32 engine of metal-demo for 2 x 384 x 384 px on this device \(none was built there\); build it with: "
        rf"jetspect build \S+metal-demo --precision fp32 --tile 384 --batch 2 --opt-level 5 --engine-dir {tmp_path}/other$",
        str(caught.value),
    )


def test_an_update_of_tensorrt_or_another_device_makes_an_engine_stale(machine: Any, small: Bundle) -> None:
    build(small)
    machine.install("10.16.2")
    with pytest.raises(
        EngineError, match=r"the nearest there has TensorRT 10\.13\.3\.9 instead of 10\.16\.2\); build it"
    ):
        opened(small)
    assert build(small).fresh
    machine.info = dataclasses.replace(machine.info, name="Thor", driver=(13, 0))
    with pytest.raises(EngineError, match=r"GPU Orin instead of Thor, CUDA driver 12\.6 instead of 13\.0\); build it"):
        opened(small)


def test_an_engine_of_another_version_under_the_right_name_is_refused_by_tensorrt(machine: Any, small: Bundle) -> None:
    report = build(small)
    plan = report.path.read_bytes()
    machine.install("10.16.2")
    with pytest.raises(
        EngineError, match=r"cannot load the engine: Version tag does not match.*jetspect build --rebuild"
    ):
        TensorRtEngine(plan, cuda=machine.cudas[-1], shape=SHAPE, precision="fp32")


@pytest.mark.parametrize("suffix", [".engine", ".json"])
@pytest.mark.parametrize("change", ["cut", "flip"])
def test_what_was_cut_short_or_changed_is_not_loaded(machine: Any, small: Bundle, suffix: str, change: str) -> None:
    path = build(small).path.with_suffix(suffix)
    data = bytearray(path.read_bytes())
    if change == "flip":
        data[len(data) // 2] ^= 1
    path.write_bytes(data[: len(data) // 2] if change == "cut" else data)
    if (suffix, change) == (".json", "flip"):
        path.write_text(path.with_suffix(".json").read_text(errors="replace").replace("Orin", "Orim", 1))
    with pytest.raises(EngineError, match=r"build it again with jetspect build --rebuild, or delete fp32-384x384"):
        opened(small)
    assert build_engine(small, "fp32", OPTIONS, rebuild=True).fresh
    opened(small).close()


def test_every_fault_of_the_parser_is_told(machine: Any, small: Bundle) -> None:
    machine.faults.parser = ["mode cubic is not\nsupported", "no importer for Foo"]
    said = (
        "2 faults: Resize /up/Resize: mode cubic is not supported; Resize /up/Resize: no importer for Foo; see jetspect"
    )
    with pytest.raises(EngineError, match=said):
        build(small)
    faults = machine.install("8.6.1")
    faults.parser = [f"fault {n}" for n in range(11)]
    with pytest.raises(EngineError, match=r"11 faults: node 7: fault 0; .*node 7: fault 7; and 3 more; see"):
        build(small)


def test_a_build_that_fails_steps_down_and_says_what_it_did(
    machine: Any, small: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    machine.faults.builds = ["Could not find any implementation for node up", "OutOfMemory: no room"]
    report = build(small)
    levels = [(c["level"], c["workspace"] // 2**20) for c in machine.faults.configs]
    assert levels == [(3, 2048), (1, 2048), (1, 512)]
    assert [s.failed for s in report.sidecar.steps] == [
        "Could not find any implementation for node up",
        "OutOfMemory: no room",
        None,
    ]
    assert "not built: optimisation level 3, workspace 2048 MiB: Could not find" in caplog.text


def test_a_build_that_never_succeeds_tells_every_step(machine: Any, small: Bundle) -> None:
    machine.faults.builds = [f"reason {n}" for n in range(9)]
    with pytest.raises(EngineError) as caught:
        build(small)
    assert "1. optimisation level 3, workspace 2048 MiB: reason 0; 2. " in str(caught.value)
    assert "4. optimisation level 0, workspace 512 MiB: reason 3; take a smaller tile or batch" in str(caught.value)
    assert not list(default_folder().glob("*.engine"))


@pytest.mark.parametrize(
    ("fault", "said", "step"),
    [
        (
            {"start": "CUDA initialization failure with error: 35"},
            "error: 35",
            "the driver is older than this TensorRT",
        ),
        ({"start": "no CUDA-capable device"}, "no CUDA-capable device", "check that the GPU works"),
        ({"context": "OutOfMemory (requested 9 GiB)"}, "requested 9 GiB", "the device is out of memory"),
        ({"address": True}, "or their memory", "jetspect build --rebuild"),
        ({"execute": "Cask convolution execution"}, "cannot run the engine: Cask", "see its messages with -v"),
        ({"dtype": "HALF"}, "tiles_u8 is", "uint8 only; build it again"),
    ],
)
def test_what_fails_on_the_device_is_told_with_the_next_step(
    machine: Any, small: Bundle, fault: dict[str, Any], said: str, step: str
) -> None:
    build(small)
    for name, value in fault.items():
        setattr(machine.faults, name, value)
    with pytest.raises(EngineError) as caught:
        opened(small)
    assert said in str(caught.value) and step in str(caught.value)
    assert not machine.cudas[-1].held and machine.cudas[-1].closed


def test_too_little_memory_for_the_buffers_is_told(machine: Any, small: Bundle) -> None:
    build(small)
    machine.free = 1000
    with pytest.raises(EngineError, match="1000 are free"):
        opened(small)


def test_an_engine_with_other_answers_is_neither_kept_nor_opened(machine: Any, small: Bundle) -> None:
    build(small)
    machine.faults.spoil = 9
    with pytest.raises(
        GoldenMismatchError, match=r"off by up to 10 of 255 levels.* It must not go live: rebuild the engine"
    ):
        opened(small)
    with pytest.raises(GoldenMismatchError):
        build(small, opt_level=5)
    assert len(list(default_folder().glob("*.engine"))) == 1


@pytest.mark.parametrize("told", ["no JSON", '{"Layers": ["only", "names"]}', "[]", '{"Layers": 3}', "[" * 9999])
def test_an_inspector_that_is_not_understood_is_not_known(machine: Any, small: Bundle, told: str) -> None:
    machine.faults.inspector = told
    assert build(small).sidecar.layers is None


def test_without_tensorrt_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, small: Bundle, tmp_path: Path
) -> None:
    monkeypatch.setenv("JETSPECT_ENGINE_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(
        MissingDependencyError, match=r"tensorrt is needed .*apt-get install python3-libnvinfer \(JetPack"
    ):
        opened(small)


def test_tensorrt_without_pycuda_or_without_a_driver_is_told(
    monkeypatch: pytest.MonkeyPatch, machine: Any, small: Bundle, tmp_path: Path
) -> None:
    monkeypatch.setattr("jetspect.runtime.engines.device.open_cuda", open_cuda)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(MissingDependencyError, match=r"PyCUDA is needed .* pip install 'jetspect\[cuda\]'"):
        opened(small)
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda" / "__init__.py").write_text("")
    (tmp_path / "pycuda" / "driver.py").write_text(
        "raise ImportError('libcuda.so.1: cannot open shared object file')\n"
    )
    monkeypatch.delitem(sys.modules, "pycuda")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EngineError, match=r"no CUDA driver: libcuda\.so\.1 cannot be loaded .* flash JetPack"):
        opened(small)


def test_a_tensorrt_without_its_libraries_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, small: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        EngineError, match=r"libraries cannot be loaded \(libnvinfer\.so\.10: cannot open.*apt-get install"
    ):
        opened(small)


def test_a_graph_that_this_tensorrt_does_not_take_is_never_swapped(machine: Any, small: Bundle) -> None:
    with pytest.raises(EngineError, match="has no int8 graph, it has fp32, fp16; choose one"):
        open_engine(small, kind="tensorrt", precision="int8")
    with pytest.raises(EngineError, match="engine 'cuda' is not known; use onnxruntime or tensorrt"):
        open_engine(small, kind="cuda")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tile_px": 100}, "stride"),
        ({"batch": 0}, "at least one tile"),
        ({"opt_level": 6}, "0 to 5, got 6"),
    ],
)
def test_options_that_cannot_work_are_refused_before_anything_is_built(
    machine: Any, small: Bundle, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        build(small, **changes)
    assert not machine.cudas


def test_one_build_at_a_time_holds_the_folder(machine: Any) -> None:
    store = EngineStore(default_folder())
    with store.lock(), (store.folder / "build.lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
