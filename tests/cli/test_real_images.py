"""Real photographs, the shipped bundle, a real broker: the main job as a plant would run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.contract import json_schema
from jetspect.runtime.publishing.subscriber import MqttSubscriber

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "bundles" / "bsd-pitting"
COUNT = 12


@pytest.fixture
def bsdata() -> Path:
    path = Path(os.environ.get("JETSPECT_BSDATA", REPOSITORY.parent / "shared" / "data" / "bsdata"))
    if not path.is_dir() and not os.environ.get("CI"):
        pytest.skip("BSData is not here; point JETSPECT_BSDATA at it")
    return path


def test_a_station_publishes_one_valid_result_per_photograph(
    tmp_path: Path, bsdata: Path, mosquitto: Callable[..., Any]
) -> None:
    """And `jetspect inspect` gives the same defects for each."""
    photographs = sorted((bsdata / "data").glob("*.jpg"))[:: 395 // COUNT][:COUNT]
    (tmp_path / "images").mkdir()
    for photograph in photographs:
        shutil.copy(photograph, tmp_path / "images")
    broker = mosquitto()
    station = tmp_path / "station.toml"
    station.write_text(
        f"""
        [station]
        site = "kit"
        area = "lab"
        line = "wear"
        unit = "ball-screw"
        [bundle]
        path = "{BUNDLE}"
        [source]
        kind = "folder"
        path = "images"
        [broker]
        host = "127.0.0.1"
        port = {broker.port}
        """
    )
    settings = BrokerSettings(host="127.0.0.1", port=broker.port)
    with MqttSubscriber(settings, "jetspect/v1/kit/lab/wear/ball-screw/result") as subscriber:
        command = [sys.executable, "-m", "jetspect"]
        done = subprocess.run([*command, "run", str(station)], capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        results = [json.loads(payload) for _, payload in subscriber.messages(quiet_s=1.0)]
    assert sorted(r["frame"]["id"] for r in results) == sorted(p.name for p in photographs)
    for result in results:
        jsonschema.validate(result, json_schema("result"))
    assert sum(r["verdict"] == "NOK" for r in results) >= COUNT // 3

    inspected = subprocess.run(
        [*command, "inspect", str(BUNDLE), str(tmp_path / "images"), "--json"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    said = {Path(i["image"]).name: i for i in json.loads(inspected.stdout)["inspections"]}
    for result in results:
        assert result["defects"] == said[result["frame"]["id"]]["defects"]
        assert result["verdict"] == said[result["frame"]["id"]]["verdict"]


def test_the_shipped_model_finds_pitting_it_was_not_trained_on(bsdata: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "jetspect",
        "evaluate",
        BUNDLE,
        bsdata,
        "--dataset",
        "bsdata",
        "--split",
        "val",
        "--engine",
        "openvino",  # the faster one here; what it says must be what was measured on ONNX Runtime
        "--json",
    ]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=250, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    measures = json.loads(done.stdout)
    assert measures["n"] == 60
    # The manifest states what was measured at export; another machine may round differently.
    stated = json.loads((BUNDLE / "manifest.json").read_text())["graphs"]["fp32"]["accuracy"]
    for name in ("iou", "iou_mean", "precision", "recall", "image_recall"):
        assert abs(measures[name] - stated[name]) < 0.01, name
