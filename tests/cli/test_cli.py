from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import jetspect
from rendered import rendered_set

from jetspect.runtime.sources.synthetic import render_part

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE = REPOSITORY / "bundles" / "metal-demo"
COMMANDS = ("demo", "train", "export", "calibrate", "bench publish", "evaluate", "inspect", "run", "subscribe")
COMMANDS += ("replay", "schema", "archive", "sparkplug")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, defects in (("clean", 0), ("worn", 4)):
        part = render_part(100, (1000, 800), texture="brushed", defects=defects)
        cv2.imwrite(str(folder / f"{name}.png"), part.image)
    return folder


def test_every_command_has_help_with_an_example() -> None:
    top = jetspect("--help")
    assert top.returncode == 0
    for command in COMMANDS:
        assert command.split()[0] in top.stdout
        shown = jetspect(*command.split(), "--help")
        assert shown.returncode == 0
        assert f"Example: jetspect {command}" in shown.stdout
        assert "--json" in shown.stdout


def test_bundle_show_and_verify_answer_in_words_and_json() -> None:
    words = jetspect("bundle", "show", BUNDLE)
    assert words.returncode == 0
    assert "halo" in words.stdout
    data = json.loads(jetspect("bundle", "show", BUNDLE, "--json").stdout)
    assert data["manifest"]["name"] == "metal-demo"
    assert json.loads(jetspect("bundle", "verify", BUNDLE, "--json").stdout)["verified"] is True


def test_a_changed_bundle_does_not_verify_and_exits_with_1(tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(BUNDLE, bundle)
    with (bundle / "model.fp32.onnx").open("r+b") as stream:
        stream.seek(1000)
        stream.write(b"!")
    refused = jetspect("bundle", "verify", bundle)
    assert refused.returncode == 1
    assert "model.fp32.onnx changed" in refused.stdout
    inspected = jetspect("inspect", bundle, BUNDLE / "manifest.json")
    assert inspected.returncode == 2
    assert inspected.stderr.startswith("error: ")


def test_a_signed_bundle_verifies_with_its_key_only(tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    shutil.copytree(BUNDLE, bundle)
    for name in ("right", "wrong"):
        assert jetspect("bundle", "keygen", "--folder", tmp_path, "--name", name).returncode == 0
    assert jetspect("bundle", "verify", bundle, "--public-key", tmp_path / "right.pub").returncode == 1
    assert jetspect("bundle", "sign", bundle, "--key", tmp_path / "right.key").returncode == 0
    assert jetspect("bundle", "verify", bundle, "--public-key", tmp_path / "right.pub").returncode == 0
    wrong = jetspect("bundle", "verify", bundle, "--public-key", tmp_path / "wrong.pub")
    assert wrong.returncode == 1
    assert "does not fit" in wrong.stdout


def test_inspect_says_ok_or_nok_and_draws(images: Path, tmp_path: Path) -> None:
    done = jetspect("inspect", BUNDLE, images / "worn.png", "--overlay", tmp_path, "--json")
    assert done.returncode == 1
    (inspection,) = json.loads(done.stdout)["inspections"]
    assert inspection["verdict"] == "NOK"
    assert inspection["defects"]
    overlay = cv2.imread(str(tmp_path / "worn.png.overlay.png"))
    assert overlay is not None
    assert overlay.shape[1] == 1000
    clean = jetspect("inspect", BUNDLE, images / "clean.png")
    assert (clean.returncode, "OK" in clean.stdout) == (0, True), clean.stdout


def test_bad_images_each_get_a_line_and_the_good_one_is_still_inspected(images: Path, tmp_path: Path) -> None:
    whole = (images / "worn.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((50, 50), np.uint16))
    shutil.copy(images / "clean.png", tmp_path / "good.png")
    done = jetspect("inspect", BUNDLE, tmp_path)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert sum(line.startswith("UNKNOWN") for line in lines) == 3
    assert any(line.startswith("OK") and "good.png" in line for line in lines)
    for name, says in (("cut.png", "truncated"), ("empty.jpg", "0 bytes"), ("deep.png", "16 bits")):
        assert any(name in line and says in line for line in lines), name


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("inspect", "nowhere", "x.png"), "nowhere does not exist"),
        (("inspect", BUNDLE, "x.png", "--precision", "fp8"), "precision 'fp8' is not known"),
        (("inspect", BUNDLE, "x.png", "--precision", "int8"), "has no int8 graph"),
        (("evaluate", BUNDLE, "nowhere"), "data set folder nowhere does not exist"),
        (("evaluate", BUNDLE, "--dataset", "imagenet"), "is not known; use one of bsdata"),
        (("run", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("train", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("export", "nowhere.pt", "--out", "x", "--dataset", "synthetic"), "nowhere.pt cannot be read"),
        (("subscribe", "--port", "1", "--host", "127.0.0.1"), "127.0.0.1:1"),
    ],
)
def test_what_cannot_be_done_is_one_clear_line_and_exit_2(words: tuple[object, ...], says: str, tmp_path: Path) -> None:
    done = jetspect(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    as_json = jetspect(*words, "--json", cwd=tmp_path)
    assert as_json.returncode == 2
    assert says in json.loads(as_json.stdout)["error"]["message"]


def test_evaluate_prints_the_agreed_measures(tmp_path: Path) -> None:
    data = rendered_set(tmp_path / "parts", 3)
    done = jetspect("evaluate", BUNDLE, data, "--split", "all", "--json")
    assert done.returncode == 0, done.stderr
    measures = json.loads(done.stdout)
    keys = ("iou", "iou_mean", "precision", "recall", "f1", "fpr", "fnr", "image_recall", "n")
    assert all(isinstance(measures[key], (int, float)) for key in keys)
    assert measures["n"] == 3


def test_the_example_station_runs_and_a_subscriber_sees_its_results(
    tmp_path: Path, mosquitto: Callable[..., Any]
) -> None:
    broker = mosquitto()
    text = (REPOSITORY / "examples" / "station.toml").read_text()
    text = text.replace("../bundles", str(REPOSITORY / "bundles")).replace("../runs/station", str(tmp_path / "data"))
    (tmp_path / "station.toml").write_text(f'{text}\n[broker]\nhost = "127.0.0.1"\nport = {broker.port}\n')
    command = [sys.executable, "-m", "jetspect", "subscribe", "--host", "127.0.0.1", "--port", str(broker.port)]
    watching = [
        subprocess.Popen(
            [*command, "--count", "2", *more],
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "COLUMNS": "200"},
        )
        for more in ([], ["--json"])
    ]
    time.sleep(4)
    # A process of its own: it takes over signals.
    run = [sys.executable, "-m", "jetspect", "run", str(tmp_path / "station.toml")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=180, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert "0 results wait" in done.stdout
    table, lines = (child.communicate(timeout=60)[0] for child in watching)
    assert "plant-1/press-shop/line-2/island-3" in table
    results = [json.loads(line) for line in lines.splitlines()]
    assert [r["seq"] for r in results] == [1, 2]
    assert all(r["frame"]["size_wh"] == [5472, 3648] for r in results)
