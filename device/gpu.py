"""The GPU: what it is called, what its driver is, and which kernels it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from jetspect.device.board import Board
from jetspect.device.files import ROOT, entries, read_text

_ASK_S = 10.0
# Of the chip; the product table of NVIDIA's module data sheets says how many DLA cores are on.
_CAPABILITY = {"tegra194": "7.2", "tegra234": "8.7", "tegra264": "11.0"}
_NAME = {"tegra194": "Xavier", "tegra234": "Orin", "tegra264": "Thor"}
_DLA_CORES = {"p3701": 2, "p3767-0000": 2, "p3767-0001": 1}


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU.

    Attributes
    ----------
    driver
        Empty where no kernel module tells.
    compute_capability
        For example 8.7; empty where it cannot be known without CUDA.
    dla_cores
        Deep learning accelerators beside it.
    memory_mb
        Of its own; 0 where it shares the processor's.
    """

    name: str
    driver: str = ""
    compute_capability: str = ""
    dla_cores: int = 0
    memory_mb: int = 0


def read_gpus(board: Board, root: Path = ROOT) -> tuple[Gpu, ...]:
    """Return the GPUs of this machine; none where there is none, or where its driver is not loaded."""
    driver = _driver(root)
    if board.is_jetson:
        dla = next((n for part, n in _DLA_CORES.items() if board.part.startswith(part)), 0)
        name = _NAME.get(board.soc, board.soc or "unknown")
        return (Gpu(name, driver or f"L4T {board.l4t}", _CAPABILITY.get(board.soc, ""), dla),)
    if root == ROOT and (asked := _ask_nvidia_smi()):
        return asked
    named = (_named(folder) for folder in entries(root / "proc/driver/nvidia/gpus"))
    return tuple(Gpu(name, driver) for name in named if name)


def _driver(root: Path) -> str:
    """Return the version of the loaded kernel module."""
    text = read_text(root / "proc/driver/nvidia/version")
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found[1] if found else read_text(root / "sys/module/nvidia/version")


def _named(folder: Path) -> str:
    found = re.search(r"^Model:\s*(.+)$", read_text(folder / "information"), re.MULTILINE)
    return found[1].strip() if found else ""


def _ask_nvidia_smi() -> tuple[Gpu, ...]:
    """Ask the driver's own tool, the one place outside CUDA that knows the compute capability of a desktop GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    fields = "name,driver_version,compute_cap,memory.total"
    try:
        done = subprocess.run(
            [tool, f"--query-gpu={fields}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_ASK_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines()]
    return tuple(
        Gpu(name, driver, capability, memory_mb=int(memory) if memory.isdigit() else 0)
        for name, driver, capability, memory in (row for row in rows if len(row) == 4)
    )
