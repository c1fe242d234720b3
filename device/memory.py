"""Main memory and what it is swapped to. On a Jetson the GPU lives in the same memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetspect.device.files import ROOT, entries, read_int, read_text

_MIB = 1 << 20


@dataclass(frozen=True)
class Memory:
    """In MiB. ``zram_mb`` is the part of the swap that is compressed memory, not a disk."""

    total_mb: int
    available_mb: int
    free_mb: int
    swap_total_mb: int
    swap_free_mb: int
    zram_mb: int


def read_memory(root: Path = ROOT) -> Memory:
    """Read /proc/meminfo and the zram devices; zeros where the machine does not tell."""
    kb: dict[str, int] = {}
    for line in read_text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        number = value.split()[:1]
        if number and number[0].isdigit():
            kb[name] = int(number[0])
    zram = (read_int(path / "disksize") or 0 for path in entries(root / "sys/block", "zram*"))
    return Memory(
        total_mb=kb.get("MemTotal", 0) // 1024,
        available_mb=kb.get("MemAvailable", 0) // 1024,
        free_mb=kb.get("MemFree", 0) // 1024,
        swap_total_mb=kb.get("SwapTotal", 0) // 1024,
        swap_free_mb=kb.get("SwapFree", 0) // 1024,
        zram_mb=sum(zram) // _MIB,
    )
