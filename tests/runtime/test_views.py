"""Each camera of a part is judged by its own settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jetspect.errors import ConfigError, InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.engines import open_engine
from jetspect.runtime.frames import Frame, LostFrame, Shot, utc_now
from jetspect.runtime.results import Verdict
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.views import ViewInspectors

CAMERA = {"kind": "synthetic", "frames": 1}


def station(*views: dict[str, Any], **sections: Any) -> StationConfig:
    data: dict[str, Any] = {
        "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": "b"},
        "trigger": {"kind": "camera"},
        "view": [{"source": CAMERA, **view} for view in views],
        **sections,
    }
    return parse_settings(data, StationConfig, where="test")


def shot(view: str) -> Shot:
    return Shot("P1", 1, view, 1, 2, utc_now())


def test_a_view_takes_the_place_of_the_station_section_by_section(bundle: Bundle) -> None:
    settings = station(
        {"name": "plain"},
        {"name": "lenient", "verdict": {"max_defects": 100}, "optics": {"pixel_pitch_mm": 0.5}},
        {"name": "small", "checks": {"size_wh": [100, 100]}},
        optics={"pixel_pitch_mm": 0.1},
    )
    engine, _ = open_engine(bundle)
    image = render_part(3, (640, 480), texture="brushed", defects=4).image
    with ViewInspectors(bundle, engine, settings.inspectors) as views:
        plain, lenient, small = (views.inspect(Frame(image, v, shot=shot(v))) for v in ("plain", "lenient", "small"))
        gone = views.inspect(LostFrame("x", "lost", shot=shot("no more")))
    assert [i.verdict for i in (plain, lenient, small, gone)] == [
        Verdict.NOK,
        Verdict.OK,
        Verdict.UNKNOWN,
        Verdict.UNKNOWN,
    ]
    assert len(plain.defects) == len(lenient.defects) > 0
    for a, b in zip(plain.defects, lenient.defects, strict=True):
        assert a.area_mm2 is not None
        assert b.area_mm2 == pytest.approx(25 * a.area_mm2)


def test_what_does_not_fit_names_the_view(bundle: Bundle) -> None:
    engine, _ = open_engine(bundle)
    settings = station({"name": "top"}, {"name": "side", "verdict": {"classes": {"rust": {}}}})
    with engine, pytest.raises(InputError, match=r"^view side: verdict\.classes names rust"):
        ViewInspectors(bundle, engine, settings.inspectors)


def test_unknown_sections_of_a_view_are_refused() -> None:
    with pytest.raises(ConfigError, match="outbox: unknown key"):
        station({"name": "top", "outbox": {"path": str(Path("x"))}})
