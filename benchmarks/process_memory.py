"""How much memory a process took at its peak, and how much there is to take."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("/")


def peak_mb(root: Path = ROOT) -> float:
    """Largest resident size of this process since its program was started.

    Not ``ru_maxrss``: on Linux that begins with the size of the process that started this one.
    """
    return _status_kb(root / "proc/self/status", "VmHWM") / 1024


def available_mb(root: Path = ROOT) -> float:
    """Memory that can be taken without swapping, within the limit of this process' control group."""
    free = _status_kb(root / "proc/meminfo", "MemAvailable") / 1024
    return min([free, *_group_limits_mb(root)])


def _group_limits_mb(root: Path) -> list[float]:
    """What is left below each limit (cgroup v2), from the group of this process up."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    name = next((line[3:] for line in lines if line.startswith("0::")), None)
    found: list[float] = []
    while name:
        folder = root / "sys/fs/cgroup" / name.strip("/")
        try:
            limit, used = ((folder / f"memory.{what}").read_text().strip() for what in ("max", "current"))
        except OSError:
            limit, used = "max", "0"
        if limit.isdecimal() and used.isdecimal():
            found.append(max(0.0, (int(limit) - int(used)) / 2**20))
        name = "" if name == "/" else os.path.dirname(name)  # noqa: PTH120
    return found


def _status_kb(path: Path, key: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    return 0
