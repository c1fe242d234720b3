"""A deploy builds the engine that the station runs, and two of them stand beside each other for the exchange."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from delivery import wait_for
from trt_machine import Machine

from jetspect.errors import EngineMissingError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.slots.deploy import deploy
from jetspect.runtime.slots.folder import SlotFolder


def test_a_deploy_builds_what_the_running_station_then_takes(
    folder: SlotFolder,
    config: Callable[..., StationConfig],
    version: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("jetspect.runtime.slots.switching._LOOK_S", 0.02)
    monkeypatch.setenv("JETSPECT_ENGINE_DIR", str(tmp_path / "engines"))
    machine = Machine(monkeypatch)
    machine.install()
    settings = config(engine={"kind": "tensorrt"})
    deploy(version("1"), settings, folder, unsigned=True)
    seen: list[str] = []

    def listen(item: Any, inspection: Any, message: Any) -> None:
        seen.append(f"{message.model.version} {message.verdict.value}")

    with build_station(settings, on_result=listen) as station:
        runner = threading.Thread(target=station.run)
        runner.start()
        wait_for(lambda: len(seen) > 2)
        deploy(version("2"), settings, folder, unsigned=True)
        wait_for(lambda: seen[-1].startswith("2 "))
        station.stop()
        runner.join()
    assert not [said for said in seen if "UNKNOWN" in said]
    assert all(cuda.closed and not cuda.held for cuda in machine.cudas), "the old engine gave its memory back"
    for plan in (tmp_path / "engines").iterdir():
        plan.unlink()
    with pytest.raises(EngineMissingError, match="jetspect build"), build_station(settings):
        pass


def test_where_the_engine_is_chosen_tensorrt_is_built_so_that_it_can_be(
    folder: SlotFolder,
    config: Callable[..., StationConfig],
    version: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A choice that was made before the engine was there is made again; one that cannot be built is told, and no obstacle."""
    monkeypatch.setattr("jetspect.runtime.engines.auto._TRIAL_S", 0.02)
    monkeypatch.setenv("JETSPECT_ENGINE_DIR", str(tmp_path / "engines"))
    monkeypatch.setenv("JETSPECT_CACHE", str(tmp_path / "cache"))
    settings = config(engine={"kind": "auto"})
    machine = Machine(monkeypatch)
    machine.install().start = "no memory"
    deploy(version("1"), settings, folder, unsigned=True)
    assert "no TensorRT engine can be built, so another one will judge" in caplog.text
    machine.install()
    deploy(version("2"), settings, folder, unsigned=True, force=True)
    assert list((tmp_path / "engines").glob("*.engine"))
    trials = [json.loads(path.read_text())["trials"] for path in (tmp_path / "cache" / "choices").iterdir()]
    timed = [sorted(t["kind"] for t in each if t["median_ms"] is not None) for each in trials]
    assert sorted("tensorrt" in kinds for kinds in timed) == [False, True]
