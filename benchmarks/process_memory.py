"""How much memory a process takes and took at its peak, whether it grows, and how much there is to take."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


def peak_mb(root: Path = ROOT) -> float:
    """Largest resident size of this process since its program was started.

    Not ``ru_maxrss``: on Linux that begins with the size of the process that started this one.
    """
    return _status_kb(root / "proc/self/status", "VmHWM") / 1024


def restart_peak() -> None:
    """Let :func:`peak_mb` count from now on."""
    (ROOT / "proc/self/clear_refs").write_text("5")


def resident_mb(process: int | str = "self", root: Path = ROOT) -> float:
    """What a process holds in memory now."""
    pages = int((root / f"proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files(process: int | str = "self", root: Path = ROOT) -> int:
    """How many files, sockets and pipes a process has open."""
    return len(os.listdir(root / f"proc/{process}/fd"))  # noqa: PTH208


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


@dataclass(frozen=True)
class Usage:
    """Memory (MB) and open files of a process: the medians of the second and the last quarter of a run, and the peak."""

    memory_mb: tuple[float, float]
    files: tuple[int, int]
    peak_memory_mb: float
    samples: int

    @property
    def flat(self) -> bool:
        """Whether neither grows: at most 2 % and 4 MB of memory, and no more than two files."""
        before, after = self.memory_mb
        return after <= 1.02 * before + 4 and self.files[1] <= self.files[0] + 2


def usage(samples: Sequence[tuple[float, int]]) -> Usage:
    """Summarise samples of (memory in MB, open files), taken evenly over the run. The first quarter warms up."""
    if len(samples) < 4:
        return Usage((math.nan, math.nan), (0, 0), max((m for m, _ in samples), default=math.nan), len(samples))
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    return Usage(
        (statistics.median(m for m, _ in early), statistics.median(m for m, _ in late)),
        (int(statistics.median(f for _, f in early)), int(statistics.median(f for _, f in late))),
        max(m for m, _ in samples),
        len(samples),
    )
