"""The doctor looks at a real GigE Vision camera, and leaves it free for the station."""

from __future__ import annotations

from typing import Any

from jetspect.runtime.doctor.station_checks import check_camera
from jetspect.runtime.sources.gige import GigeSettings


def test_a_camera_that_answers_is_there_and_free_afterwards(camera: Any) -> None:
    settings = GigeSettings(ip=camera.ip)
    camera.start()
    assert [check_camera(settings).verdict for _ in range(2)] == ["ok", "ok"]
