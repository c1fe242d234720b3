"""The configuration of a station that inspects a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jetspect.runtime.config import StationConfig
from jetspect.runtime.settings import parse_settings


def station(tmp_path: Path, bundle: Path, /, **sections: Any) -> StationConfig:
    """Inspect ``images`` with a bundle; what is given takes the place of a section."""
    data: dict[str, Any] = {
        "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": str(bundle)},
        "source": {"kind": "folder", "path": str(tmp_path / "images")},
        "outbox": {"path": str(tmp_path / "outbox.sqlite")},
        **sections,
    }
    return parse_settings(data, StationConfig, where="test")
