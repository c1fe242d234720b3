"""Every way in which a TensorRT engine fails to be built or opened is told with the next step."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host_cuda import HostCuda
from trt_machine import OPTIONS, SHAPE, Machine, build, opened

from jetspect.errors import EngineError, GoldenMismatchError, InputError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.cache import default_folder
from jetspect.runtime.engines.device import build_engine, open_cuda
from jetspect.runtime.engines.tensorrt import TensorRtEngine


def test_another_batch_or_tile_is_refused(machine: Machine, small: Bundle) -> None:
    build(small)
    with opened(small) as engine:
        for wrong in (
            np.zeros((1, *SHAPE[1:]), np.uint8),
            np.zeros(SHAPE, np.float32),
            np.zeros(SHAPE[::-1], np.uint8).T,
        ):
            with pytest.raises(EngineError, match=r"made for contiguous uint8 tiles \(2, 384, 384, 3\), got"):
                engine.run(wrong)


def test_a_station_without_its_engine_is_told_the_command(machine: Machine, small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        opened(small, folder=tmp_path / "other", opt_level=5)
    assert re.search(
        r"has no fp32 engine of metal-demo for 2 x 384 x 384 px on this device \(none was built there\); build it with: "
        rf"jetspect build \S+metal-demo --precision fp32 --tile 384 --batch 2 --opt-level 5 --engine-dir {tmp_path}/other$",
        str(caught.value),
    )


def test_an_update_of_tensorrt_or_another_device_makes_an_engine_stale(machine: Machine, small: Bundle) -> None:
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


def test_an_engine_of_another_version_under_the_right_name_is_refused_by_tensorrt(
    machine: Machine, small: Bundle
) -> None:
    report = build(small)
    plan = report.path.read_bytes()
    machine.install("10.16.2")
    with pytest.raises(
        EngineError, match=r"cannot load the engine: Version tag does not match.*jetspect build --rebuild"
    ):
        TensorRtEngine(plan, cuda=HostCuda(), shape=SHAPE, precision="fp32")


@pytest.mark.parametrize("suffix", [".engine", ".json"])
@pytest.mark.parametrize("change", ["cut", "flip"])
def test_what_was_cut_short_or_changed_is_not_loaded(machine: Machine, small: Bundle, suffix: str, change: str) -> None:
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


def test_every_fault_of_the_parser_is_told(machine: Machine, small: Bundle) -> None:
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
    machine: Machine, small: Bundle, caplog: pytest.LogCaptureFixture
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


def test_a_build_that_never_succeeds_tells_every_step(machine: Machine, small: Bundle) -> None:
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
    machine: Machine, small: Bundle, fault: dict[str, Any], said: str, step: str
) -> None:
    build(small)
    for name, value in fault.items():
        setattr(machine.faults, name, value)
    with pytest.raises(EngineError) as caught:
        opened(small)
    assert said in str(caught.value) and step in str(caught.value)
    assert not machine.cudas[-1].held and machine.cudas[-1].closed


def test_too_little_memory_for_the_buffers_is_told(machine: Machine, small: Bundle) -> None:
    build(small)
    machine.free = 1000
    with pytest.raises(EngineError, match="1000 are free"):
        opened(small)


def test_an_engine_with_other_answers_is_neither_kept_nor_opened(machine: Machine, small: Bundle) -> None:
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
def test_an_inspector_that_is_not_understood_is_not_known(machine: Machine, small: Bundle, told: str) -> None:
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
    monkeypatch: pytest.MonkeyPatch, machine: Machine, small: Bundle, tmp_path: Path
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


def test_a_graph_that_this_tensorrt_does_not_take_is_never_swapped(machine: Machine, small: Bundle) -> None:
    with pytest.raises(EngineError, match="has no int8 graph, it has fp32, fp16; choose one"):
        open_engine(small, kind="tensorrt", precision="int8")
    with pytest.raises(
        EngineError,
        match="engine 'cuda' is not known; use one of onnxruntime, openvino, onnxruntime-cuda, tensorrt, or auto",
    ):
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
    machine: Machine, small: Bundle, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        build(small, **changes)
    assert not machine.cudas
