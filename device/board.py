"""Which board and module this is, and which JetPack runs on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT, read_text
from jetspect.device.packages import upstream

# JetPack's own number stands in a package that a lean system may not have; NVIDIA's release notes pair them like this.
_JETPACK_OF_L4T = {
    "35.4": "5.1.2",
    "35.5": "5.1.3",
    "35.6": "5.1.4",
    "36.2": "6.0 DP",
    "36.3": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}
_PART = re.compile(r"p(\d{4})-(\d{4})")
_MODULES = {
    "p3701-0000": "Jetson AGX Orin",
    "p3701-0004": "Jetson AGX Orin 32GB",
    "p3701-0005": "Jetson AGX Orin 64GB",
    "p3701-0008": "Jetson AGX Orin Industrial",
    "p3767-0000": "Jetson Orin NX 16GB",
    "p3767-0001": "Jetson Orin NX 8GB",
    "p3767-0003": "Jetson Orin Nano 8GB",
    "p3767-0004": "Jetson Orin Nano 4GB",
    "p3767-0005": "Jetson Orin Nano 8GB (developer kit)",
    "p3834-0008": "Jetson T5000",
}


@dataclass(frozen=True)
class Board:
    """A Jetson; all fields are empty on other machines.

    Attributes
    ----------
    name
        As the device tree calls it.
    module
        Its product name, where the part number is known, else the part number.
    part
        For example ``p3767-0005``.
    soc
        ``tegra234`` (Orin) or ``tegra264`` (Thor).
    l4t, jetpack
        For example 36.4.3 and 6.2. ``jetpack`` is NVIDIA's number for this L4T where the package does not tell.
    """

    name: str = ""
    module: str = ""
    part: str = ""
    soc: str = ""
    l4t: str = ""
    jetpack: str = ""

    @property
    def is_jetson(self) -> bool:
        return bool(self.soc or self.l4t)


def read_board(packages: Mapping[str, str], root: Path = ROOT) -> Board:
    """Read the device tree and the release of L4T."""
    l4t = _l4t(packages, root)
    compatible = _strings(root / "proc/device-tree/compatible")
    soc = next((c.partition(",")[2] for c in compatible if c.startswith("nvidia,tegra")), "")
    if not (soc or l4t):
        return Board()
    parts = [m.group() for c in compatible for m in _PART.finditer(c)]
    part = next((p for p in parts if p in _MODULES), parts[-1] if parts else "")
    jetpack = upstream(packages.get("nvidia-jetpack", "")) or _jetpack_of(l4t)
    return Board(
        name=read_text(root / "proc/device-tree/model"),
        module=_MODULES.get(part, part),
        part=part,
        soc=soc,
        l4t=l4t,
        jetpack=jetpack,
    )


def _l4t(packages: Mapping[str, str], root: Path) -> str:
    """Return for example 36.4.3; the package counts, because an update over apt may leave the release file behind."""
    if core := upstream(packages.get("nvidia-l4t-core", "")):
        return core
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", read_text(root / "etc/nv_tegra_release"))
    return f"{found[1]}.{found[2]}" if found else ""


def _jetpack_of(l4t: str) -> str:
    return _JETPACK_OF_L4T.get(l4t) or _JETPACK_OF_L4T.get(".".join(l4t.split(".")[:2]), "")


def _strings(path: Path) -> list[str]:
    """Read a list of strings of a device tree; each ends with NUL."""
    return [part for part in read_text(path).split("\0") if part]
