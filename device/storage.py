"""Disks: how large, how full, and how worn where the kernel shows it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jetspect.device.files import ROOT, entries, read_int, read_text, whole_number

Kind = Literal["emmc", "sd", "nvme", "disk"]
_SECTOR = 512
_MIB = 1 << 20
_BOOT_AREA = re.compile(r"mmcblk\d+(boot\d+|rpmb)")
_PRE_EOL = {1: "normal", 2: "warning", 3: "urgent"}


@dataclass(frozen=True)
class Disk:
    """A disk that is built in or plugged in.

    Attributes
    ----------
    worn_percent
        Of an eMMC: how much of its life is used at most, in steps of 10 (JESD84-B51, DEVICE_LIFE_TIME_EST); 110: all of it.
        None where the kernel does not show it, as for NVMe: ``sudo nvme smart-log /dev/nvme0`` does.
    pre_eol
        Of an eMMC: what is left of its spare blocks: normal, warning (80 % used), urgent (90 %).
    """

    name: str
    kind: Kind
    model: str
    size_mb: int
    worn_percent: int | None = None
    pre_eol: str = ""


@dataclass(frozen=True)
class Space:
    """Room in the file system that holds a path, for a program that is not root."""

    total_mb: int
    free_mb: int


def read_disks(root: Path = ROOT) -> tuple[Disk, ...]:
    """Return the disks; no partitions, loops, zram or boot areas of an eMMC."""
    return tuple(_disk(path) for path in entries(root / "sys/block") if _is_disk(path))


def space(path: Path) -> Space | None:
    """Return the room where a path is or would be made; None where that cannot be told."""
    try:
        told = os.statvfs(path)
    except FileNotFoundError:
        return space(path.parent) if path.parent != path else None
    except OSError:
        return None
    return Space(told.f_blocks * told.f_frsize // _MIB, told.f_bavail * told.f_frsize // _MIB)


def _is_disk(path: Path) -> bool:
    return (path / "device").is_dir() and not _BOOT_AREA.fullmatch(path.name)


def _disk(path: Path) -> Disk:
    device = path / "device"
    kind: Kind = "disk"
    if path.name.startswith("nvme"):
        kind = "nvme"
    elif path.name.startswith("mmcblk"):
        kind = "sd" if read_text(device / "type") == "SD" else "emmc"
    worn = [n for word in read_text(device / "life_time").split() if (n := _hex(word)) > 0]
    return Disk(
        name=path.name,
        kind=kind,
        model=read_text(device / "model") or read_text(device / "name"),
        size_mb=(read_int(path / "size") or 0) * _SECTOR // _MIB,
        worn_percent=10 * max(worn) if worn else None,
        pre_eol=_PRE_EOL.get(_hex(read_text(device / "pre_eol_info")), ""),
    )


def _hex(text: str) -> int:
    return whole_number(text, 16) or 0
