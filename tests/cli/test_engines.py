"""Commands that run a bundle run it in the engine that was asked for, or say why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rendered import rendered_set
from trt_machine import Machine
from typer.testing import CliRunner

from jetspect.cli import app

DEMO = str(Path(__file__).parents[2] / "bundles/metal-demo")


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return rendered_set(tmp_path / "parts", 1)


def answer(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    parsed: dict[str, object] = json.loads(done.stdout)
    return parsed


def test_tensorrt_finds_what_the_processor_finds(parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETSPECT_ENGINE_DIR", str(tmp_path / "engines"))
    Machine(monkeypatch).install()
    image, shape = str(parts / "images" / "part-0.png"), ["--tile", "384", "--batch", "2"]
    answer("build", DEMO, "--precision", "fp32", *shape)
    host, device = (answer("inspect", DEMO, image, "--engine", e, *shape) for e in ("onnxruntime", "tensorrt"))
    assert str(device["engine"]).startswith("tensorrt 10.13")
    (on_host,), (on_device,) = host["inspections"], device["inspections"]  # type: ignore[misc]
    assert on_device["defects"] == on_host["defects"] != []  # type: ignore[index]

    data = [str(parts), "--dataset", "folder", "--split", "all", "--resamples", "100"]
    host, device = (answer("evaluate", DEMO, *data, "--engine", e, *shape) for e in ("onnxruntime", "tensorrt"))
    assert (device["iou"], device["n_objects"]) == (host["iou"], host["n_objects"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            ["--engine", "cuda"],
            "--engine 'cuda' is not known; use one of onnxruntime, openvino, onnxruntime-cuda, tensorrt, or auto",
        ),
        (["--engine", "tensorrt"], "tensorrt"),
        (["--engine", "onnxruntime-cuda"], "onnxruntime-gpu"),
        (["--precision", "int4"], "precision 'int4' is not known"),
    ],
)
def test_what_is_not_there_is_not_replaced(parts: Path, options: list[str], told: str) -> None:
    done = CliRunner().invoke(app, ["inspect", DEMO, str(parts / "images"), *options])
    assert done.exception is not None
    assert told in str(done.exception)
