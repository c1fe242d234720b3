"""A station marks what was inspected while its device was slowed down, and tells its sensors in the health message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from boards import put, unpack

from jetspect.device.monitor import DeviceMonitor
from jetspect.device.sensors import Sensors
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.settings import parse_settings


@pytest.mark.parametrize(("state", "mark"), [("0", None), ("2", "cpufreq-cpu0")])
def test_a_throttled_inspection_says_so_in_its_result(
    tmp_path: Path, brightest: Any, monkeypatch: pytest.MonkeyPatch, state: str, mark: str | None
) -> None:
    board = unpack("orin-nano", tmp_path / "board")
    put(board, "sys/class/thermal/cooling_device1/cur_state", state)
    monitor = DeviceMonitor(Sensors(board))
    monitor.sample()
    monkeypatch.setattr("jetspect.runtime.assembly.DeviceMonitor", lambda: monitor)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.tile(np.arange(128, dtype=np.uint8), (64, 1)))
    config = parse_settings(
        {
            "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
            "bundle": {"path": str(brightest.write(tmp_path / "bundle"))},
            "source": {"kind": "folder", "path": str(tmp_path / "images")},
            "outbox": {"path": str(tmp_path / "outbox.sqlite")},
        },
        StationConfig,
        where="test",
    )
    told: list[ResultMessage] = []
    with build_station(config, on_result=lambda item, inspection, message: told.append(message)) as station:
        station.run()
        health = station.health()
    assert [m.throttled for m in told] == [mark]
    assert ("throttled" in json.loads(told[0].payload())) == (mark is not None)
    assert health.device is not None
    assert health.device.temperatures_c["cpu-thermal"] == 51.468
    assert health.device.throttled_by == ((mark,) if mark else ())
