"""A whole station on a camera that goes away, is not free, does not take a setting, or loses packets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jetspect.benchmarks.plant import wait_until
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.frames import LostCause
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.sources.aravis import AravisCamera
from jetspect.runtime.station import Station

Running = Callable[..., Any]


@pytest.fixture
def running(tmp_path: Path, metal_demo: Path) -> Running:
    """Run a station on the fake camera, inside of a with block."""

    @contextmanager
    def run(**source: Any) -> Iterator[Station]:
        config = parse_settings(
            {
                "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
                "bundle": {"path": str(metal_demo)},
                "source": {
                    "kind": "gige",
                    "ip": "127.0.0.1",
                    "pixel_format": "BayerRG8",
                    "roi": [0, 0, 640, 480],
                    "frame_rate_hz": 5,
                    "packet_size": 8192,
                    "retry_s": 0.1,
                    "retry_max_s": 0.2,
                    "features": {"GainAuto": "Off"},
                    **source,
                },
                "outbox": {"path": str(tmp_path / "outbox.sqlite")},
                "evidence": {"folder": str(tmp_path / "evidence"), "of": ["OK", "NOK", "UNKNOWN"]},
            },
            StationConfig,
            where="test",
        )
        with build_station(config) as station:
            thread = threading.Thread(target=station.run)
            thread.start()
            try:
                yield station
            finally:
                station.stop()
                thread.join(timeout=30)
            assert not thread.is_alive()
            assert station.health().evidence_failed == 0

    return run


def results(folder: Path) -> list[dict[str, Any]]:
    with Outbox(folder / "outbox.sqlite") as outbox:
        return [json.loads(row.payload) for row in outbox.pending(limit=1000)]


def test_a_station_outlives_its_camera_and_tells_so(camera: Any, tmp_path: Path, running: Running) -> None:
    camera.start()
    with running() as station:
        wait_until(lambda: station.counters.inspected >= 3, 25, "no three results")
        camera.kill()
        camera.start()
        wait_until(lambda: station.health().source.reconnects == 1, 25, "it does not connect again")
        before = station.counters.inspected
        wait_until(lambda: station.counters.inspected >= before + 3, 25, "no results after it")
        assert json.loads(station.health().payload())["source"]["reconnects"] == 1
    found = results(tmp_path)
    assert {r["frame"]["origin"] for r in found} == {"camera 127.0.0.1"}
    assert all(r["frame"]["size_wh"] == [640, 480] for r in found if r["verdict"] != "UNKNOWN")


def test_a_station_waits_for_a_camera_that_is_in_use_and_then_for_one_that_takes_its_settings(
    camera: Any, told_otherwise: Callable[[str, str], Path], running: Running
) -> None:
    """What a camera does not take cannot be seen at the start where another program has it then."""
    camera.start("-g", str(told_otherwise('Name="GainAuto"', 'Name="GainAutomatic"')))
    held = AravisCamera("127.0.0.1")
    with running() as station:
        assert "GV01 is in use by another program; end that one" in station.health().source.fault
        held.close()
        said = "GV01 has no feature 'GainAuto'. All of them: arv-tool"
        wait_until(lambda: said in station.health().source.fault, 25, "it is not told")
        assert (station.health().source.connected, station.counters.inspected) == (False, 0)
        camera.kill()
        camera.start()
        wait_until(lambda: station.counters.inspected >= 1, 25, "no result from a camera that has it")
        assert (station.health().source.connected, station.health().source.fault) == (True, "")


def test_a_frame_that_lost_packets_is_a_result_without_a_verdict(camera: Any, tmp_path: Path, running: Running) -> None:
    camera.start("-r", "5")
    with running(packet_size=1400, frame_rate_hz=20, pixel_format="Mono8") as station:
        wait_until(lambda: station.counters.lost[LostCause.INCOMPLETE] >= 2, 25, "no frame lost packets")
        wait_until(lambda: station.counters.inspected >= 4, 25, "no results")
        assert station.health().source.packets_missing > 0
    lost = [r for r in results(tmp_path) if "packets of it" in str(r["reasons"])]
    assert len(lost) >= 2
    assert {r["verdict"] for r in lost} == {"UNKNOWN"}
