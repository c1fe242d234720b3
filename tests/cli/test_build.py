"""``jetspect build`` says what it did, and in one line what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from jetspect.cli import main
from jetspect.runtime.engines import device
from jetspect.runtime.engines.device import BuildReport
from jetspect.runtime.engines.layers import LayerSummary
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.engines.sidecar import EngineKey, Sidecar, Step
from jetspect.runtime.golden import GoldenReport

BUNDLE = str(Path(__file__).resolve().parents[2] / "bundles" / "metal-demo")
KEY = EngineKey(
    graph_sha256="a" * 64,
    precision="fp16",
    shape_nhwc=(2, 512, 512, 3),
    tensorrt="10.3.0",
    gpu="Orin",
    compute_capability=(8, 7),
    driver=(12, 6),
    typing="weak",
    flags=("FP16",),
    tf32=True,
    opt_level=3,
    builder_revision=1,
)
SIDECAR = Sidecar.model_validate(
    {
        "key": KEY,
        "bundle": "metal-demo 1.0",
        "jetspect": "0",
        "created": "2026-01-02T03:04:05Z",
        "build_s": 63.4,
        "steps": (Step(opt_level=3, workspace_mib=2048, failed="no kernel"), Step(opt_level=1, workspace_mib=2048)),
        "layers": LayerSummary(layers=40, int8=20, fp16=3, fp32=0, unknown=0),
        "engine_sha256": "b" * 64,
        "engine_bytes": 4_200_000,
    }
)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["jetspect", "build", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[DeviceOptions]:
    """Take the place of a device; what was asked of it is listed."""
    seen: list[DeviceOptions] = []

    def build_engine(bundle: object, precision: str, options: DeviceOptions, **_: object) -> BuildReport:
        seen.append(options)
        return BuildReport(Path("/e/fp16.engine"), SIDECAR, GoldenReport(4, 1, 0.01), fresh=True)

    monkeypatch.setattr("jetspect.cli.build.build_engine", build_engine)
    return seen


def test_it_tells_the_branch_the_ladder_the_layers_and_the_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[DeviceOptions]
) -> None:
    options = ["--precision", "fp16", "--tile", "512", "--batch", "2", "--engine-dir", "/e", "--opt-level", "5"]
    assert run(monkeypatch, BUNDLE, *options) == 0
    assert asked == [DeviceOptions(512, 2, Path("/e"), 5)]
    assert capsys.readouterr().out.splitlines() == [
        "built in 63 s  /e/fp16.engine  4.2 MB",
        "metal-demo 1.0 fp16, 2 x 512 x 512 px",
        "TensorRT 10.3.0 (weak typing, FP16) on Orin, sm_87",
        "try 1: optimisation level 3, workspace 2048 MiB: no kernel",
        "try 2: optimisation level 1, workspace 2048 MiB: built",
        "40 layers; convolutions: 20 INT8, 3 FP16",
        "4 golden tiles reproduced within 1 of 255 levels",
    ]


def test_it_answers_machines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: list[DeviceOptions]
) -> None:
    assert run(monkeypatch, BUNDLE, "--precision", "fp16", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["engine"] == "/e/fp16.engine" and told["built_now"] is True
    assert told["key"]["tensorrt"] == "10.3.0" and told["layers"]["int8"] == 20 and told["golden"]["max_levels"] == 1


def test_without_tensorrt_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert run(monkeypatch, BUNDLE, "--precision", "fp16") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "python3-libnvinfer (JetPack; make the virtual environment with --system-site-packages)" in told


def test_a_precision_that_the_bundle_does_not_have_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, BUNDLE, "--precision", "int8") == 2
    assert "has no int8 graph, it has fp32, fp16; choose one" in capsys.readouterr().err
    assert run(monkeypatch, BUNDLE, "--precision", "int4") == 2
    assert "precision 'int4' is not known" in capsys.readouterr().err


def test_options_match_the_device_s_own(monkeypatch: pytest.MonkeyPatch, asked: list[DeviceOptions]) -> None:
    assert run(monkeypatch, BUNDLE, "--precision", "fp16") == 0
    assert asked == [DeviceOptions()] == [device.DeviceOptions()]
