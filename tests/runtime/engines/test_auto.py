"""The fastest engine is found once, and only an engine that gives the golden answers is a candidate."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from commands import jetspect

from jetspect.errors import EngineError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import auto, choose_engine, open_engine
from jetspect.runtime.engines.base import U8
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.engines.openvino import OpenVinoEngine
from jetspect.runtime.engines.options import DeviceOptions


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(auto, "_TRIAL_S", 0.02)
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "choices"


def slow(monkeypatch: pytest.MonkeyPatch, engine: Any, seconds: float = 0.05) -> list[int]:
    """Make an engine slow; returns its runs."""
    run, runs = engine.run, [0]

    def late(self: Any, tiles: U8) -> U8:
        runs[0] += 1
        time.sleep(seconds)
        answer: U8 = run(self, tiles)
        return answer

    monkeypatch.setattr(engine, "run", late)
    return runs


SMALL = DeviceOptions(tile_px=256)


@pytest.mark.parametrize(("slower", "best"), [(OnnxRuntimeEngine, "openvino"), (OpenVinoEngine, "onnxruntime")])
def test_the_faster_one_is_taken_and_remembered(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, quick: Path, slower: Any, best: str
) -> None:
    runs = slow(monkeypatch, slower)
    engine, golden, choice = choose_engine(bundle, device=SMALL)
    engine.close()
    assert (engine.info.name, choice.kind) == (best, best)
    assert golden.tiles == 4
    assert f"engine {best} chosen for 1 x 256 px fp32" in str(choice)
    assert "not installed: onnxruntime-cuda, tensorrt" in str(choice)
    (kept,) = quick.glob("*.json")
    assert json.loads(kept.read_text())["kind"] == best
    runs[0] = 0
    engine, _ = open_engine(bundle, kind="auto", device=SMALL)
    engine.close()
    assert (engine.info.name, runs[0]) == (best, 0), "the slower one is not even opened"
    choose_engine(bundle, device=SMALL, again=True)[0].close()
    assert runs[0] > 0


@pytest.mark.parametrize("change", [{"tile_px": 320}, {"batch": 2}])
def test_another_shape_is_another_choice(bundle: Bundle, quick: Path, change: dict[str, int]) -> None:
    for options in (SMALL, DeviceOptions(**{"tile_px": 256, **change})):
        choose_engine(bundle, device=options)[0].close()
    assert len(list(quick.glob("*.json"))) == 2


def test_a_new_version_is_tried_again(bundle: Bundle, monkeypatch: pytest.MonkeyPatch, quick: Path) -> None:
    choose_engine(bundle, device=SMALL)[0].close()
    monkeypatch.setattr(auto, "_version", lambda package: "99")
    choose_engine(bundle, device=SMALL)[0].close()
    assert len(list(quick.glob("*.json"))) == 2


def test_an_engine_that_gives_other_answers_is_no_candidate(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    run = OpenVinoEngine.run
    monkeypatch.setattr(OpenVinoEngine, "run", lambda self, tiles: 255 - run(self, tiles))
    engine, _, choice = choose_engine(bundle, device=SMALL)
    engine.close()
    assert choice.kind == "onnxruntime"
    assert "not usable: openvino: openvino" in str(choice)
    assert "does not reproduce" in str(choice)


def test_where_none_works_the_reason_of_each_is_said(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        monkeypatch.setattr(engine, "run", lambda self, tiles: 255 - tiles.transpose(0, 3, 1, 2)[:, :1])
    with pytest.raises(
        EngineError, match=r"no engine runs metal-demo fp32 here: onnxruntime: .*openvino: .*tensorrt: "
    ):
        choose_engine(bundle, device=SMALL)


def test_a_remembered_engine_that_fails_now_is_not_insisted_on(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    slow(monkeypatch, OnnxRuntimeEngine)
    choose_engine(bundle, device=SMALL)[0].close()
    monkeypatch.setattr(OpenVinoEngine, "run", lambda self, tiles: 255 - tiles.transpose(0, 3, 1, 2)[:, :1])
    engine, _, _ = choose_engine(bundle, device=SMALL)
    engine.close()
    assert engine.info.name == "onnxruntime"
    assert "openvino was the fastest engine and cannot be used now" in caplog.text


@pytest.mark.parametrize("content", ["", "{}", "[" * 1000, '{"kind": "abacus", "made_for": {}, "trials": []}'])
def test_a_spoilt_memory_is_no_obstacle(bundle: Bundle, quick: Path, content: str) -> None:
    choose_engine(bundle, device=SMALL)[0].close()
    (kept,) = quick.glob("*.json")
    kept.write_text(content)
    choose_engine(bundle, device=SMALL)[0].close()
    assert json.loads(kept.read_text())["kind"] in ("onnxruntime", "openvino")


def test_without_a_place_to_remember_it_still_chooses(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        choose_engine(bundle, device=SMALL)[0].close()
    assert "cannot be remembered" in caplog.text


def test_the_command_tries_anew_and_shows_each(metal_demo: Path, quick: Path) -> None:
    words = ("bench", "engines", metal_demo, "--tile", 256)
    done = jetspect(*words, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {t["kind"] for t in said["trials"]} == {"onnxruntime", "openvino", "onnxruntime-cuda", "tensorrt"}
    assert said["kind"] == min((t for t in said["trials"] if t["median_ms"]), key=lambda t: t["median_ms"])["kind"]
    assert len(list(quick.glob("*.json"))) == 1
    shown = jetspect(*words).stdout
    assert "not installed" in shown
    assert "4 golden tiles reproduced" in shown
