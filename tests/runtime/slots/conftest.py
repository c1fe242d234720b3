"""Bundles of several versions, tiny enough to be opened many times, and stations with slots for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetspect.runtime.config import StationConfig
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.slots.deploy import deploy
from jetspect.runtime.slots.folder import SlotFolder

FRAME_WH = (128, 64)


@pytest.fixture
def version(tmp_path: Path, brightest: Any) -> Callable[..., Path]:
    """Write a bundle that says NOK at and above ``threshold``; its pixels are 0.0 to 0.8."""

    def write(number: str, threshold: float = 0.95) -> Path:
        data = brightest.graph()
        said = brightest.manifest(data)
        said["version"] = number
        said["output"]["decision"]["threshold"] = threshold
        path: Path = brightest.write(tmp_path / f"bundle-{number}", model=data, said=said)
        return path

    return write


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., StationConfig]:
    def make(**sections: Any) -> StationConfig:
        data = {
            "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
            "bundle": {"slots": str(tmp_path / "slots")},
            "source": {"kind": "synthetic", "size_wh": list(FRAME_WH), "rate_hz": 200},
            "outbox": {"path": str(tmp_path / "outbox.sqlite")},
            "engine": {"threads": 1},
            "tiling": {},
            **sections,
        }
        return parse_settings(data, StationConfig, where="test")

    return make


@pytest.fixture
def folder(tmp_path: Path) -> SlotFolder:
    return SlotFolder(tmp_path / "slots")


@pytest.fixture
def put(config: Callable[..., StationConfig], folder: SlotFolder) -> Callable[[Path], str]:
    """Deploy an unsigned bundle; returns its slot."""

    def deployed(bundle: Path) -> str:
        return deploy(bundle, config(), folder, unsigned=True, force=True).slot

    return deployed
