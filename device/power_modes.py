"""The power modes of a Jetson, from the files of nvpmodel: which there are, and which one is set."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT, read_text

CONFIG, STATUS = "etc/nvpmodel.conf", "var/lib/nvpmodel/status"
_MODEL = re.compile(r"<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>(.*?)(?=<\s*POWER_MODEL|<\s*PM_CONFIG|\Z)", re.DOTALL)
_SETTING = re.compile(r"^\s*(\S+)\s+(\S+)\s+(-?\d+|0x[0-9a-fA-F]+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class PowerMode:
    """One mode; ``settings`` are its lines: what, which knob of it, the value (-1: as high as it goes)."""

    number: int
    name: str
    settings: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class PowerModes:
    """Every mode; ``current`` is None before nvpmodel ran, ``default`` the number of the one of the first boot."""

    modes: tuple[PowerMode, ...] = ()
    current: PowerMode | None = None
    default: int | None = None

    def named(self, text: str) -> PowerMode | None:
        """Return a mode by its name, in any case, or its number."""
        return next((m for m in self.modes if text.lower() in (m.name.lower(), str(m.number))), None)

    @property
    def fastest(self) -> PowerMode | None:
        """The mode without a limit, MAXN or MAXN_SUPER, else the one with the most watts in its name."""
        return max(self.modes, key=_rank, default=None)


def read_power_modes(root: Path = ROOT) -> PowerModes:
    """Read nvpmodel's configuration and status; nothing on machines without it."""
    text = re.sub(r"#.*", "", read_text(root / CONFIG))
    modes = tuple(
        PowerMode(int(number), name, tuple((a, b, c) for a, b, c in _SETTING.findall(body)))
        for number, name, body in _MODEL.findall(text)
    )
    default = re.search(r"PM_CONFIG\s+DEFAULT=(\d+)", text)
    told = re.search(r"pmode:(\d+)", read_text(root / STATUS))
    current = next((m for m in modes if told and m.number == int(told[1])), None)
    return PowerModes(modes, current, int(default[1]) if default else None)


def _rank(mode: PowerMode) -> tuple[int, int]:
    name = mode.name.upper()
    watts = re.search(r"(\d+)\s*W", name)
    return (2 if "SUPER" in name else 1) if "MAXN" in name else 0, int(watts[1]) if watts else 0
