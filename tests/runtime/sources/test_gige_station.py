"""A whole station on a camera that goes away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.settings import parse_settings


def wait(until: Callable[[], bool], what: str, timeout_s: float = 25) -> None:
    deadline = time.monotonic() + timeout_s
    while not until():
        assert time.monotonic() < deadline, f"{what} did not happen in {timeout_s:g} s"
        time.sleep(0.02)


def test_a_station_outlives_its_camera_and_tells_so(camera: Any, tmp_path: Path, metal_demo: Path) -> None:
    camera.start()
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
                "features": {"GainAuto": "Off"},
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
            wait(lambda: station.counters.inspected >= 3, "three results")
            camera.kill()
            camera.start()
            wait(lambda: station.health().source.reconnects == 1, "connecting again")
            before = station.counters.inspected
            wait(lambda: station.counters.inspected >= before + 3, "results after it")
        finally:
            station.stop()
            thread.join(timeout=30)
        assert not thread.is_alive()
        assert station.health().evidence_failed == 0
        assert json.loads(station.health().payload())["source"]["reconnects"] == 1
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        results = [json.loads(row.payload) for row in outbox.pending(limit=1000)]
    assert {r["frame"]["origin"] for r in results} == {"camera 127.0.0.1"}
    assert all(r["frame"]["size_wh"] == [640, 480] for r in results if r["verdict"] != "UNKNOWN")
