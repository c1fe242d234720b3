"""The doctor looks at a real GigE Vision camera: there, and in use."""

from __future__ import annotations

from typing import Any

from jetspect.runtime.doctor.station_checks import check_camera
from jetspect.runtime.sources.gige import GigeSettings, GigeSource


def test_a_camera_is_there_or_in_use(camera: Any) -> None:
    settings = GigeSettings(ip=camera.ip)
    camera.start()
    assert check_camera(settings).verdict == "ok"
    with GigeSource(settings):
        busy = check_camera(settings)
    assert (busy.verdict, "in use" in busy.reason) == ("fail", True)
