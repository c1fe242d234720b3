"""What machine is this? Read from files under /proc and /sys, so that it works on any Linux and imports nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True)
class Machine:
    """The facts a measurement or a result is worthless without.

    Attributes
    ----------
    model
        Board name from the device tree (Jetson), else the processor's name.
    cores
        Cores this process may use.
    memory_mb
        Main memory; on Jetson it is shared with the GPU.
    """

    model: str
    architecture: str
    cores: int
    memory_mb: int
    os: str
    kernel: str
    python: str

    def as_dict(self) -> dict[str, str | int]:
        return asdict(self)


def probe(root: Path = ROOT) -> Machine:
    """Describe this machine. ``root`` stands in for ``/`` in tests."""
    return Machine(
        model=_board(root) or _processor(root) or platform.machine(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=_memory_kb(root) // 1024,
        os=_os_name(root),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def hottest_c(root: Path = ROOT) -> float | None:
    """Temperature of the hottest thermal zone in degrees Celsius; None where the machine shows none."""
    zones = []
    for path in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        text = _read(path)
        if text.lstrip("-").isdigit():
            zones.append(int(text) / 1000.0)
    return max(zones, default=None)


def _board(root: Path) -> str:
    return _read(root / "proc/device-tree/model").rstrip("\0")


def _processor(root: Path) -> str:
    return _field(root / "proc/cpuinfo", "model name")


def _memory_kb(root: Path) -> int:
    value = _field(root / "proc/meminfo", "MemTotal").split()
    return int(value[0]) if value else 0


def _os_name(root: Path) -> str:
    for line in _read(root / "etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _field(path: Path, key: str) -> str:
    for line in _read(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:  # a zone may refuse to be read while its sensor sleeps
        return ""
