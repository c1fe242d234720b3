"""Read the small files of /proc, /sys and /etc: what is not there, asleep or forbidden reads as nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
_TOO_LARGE = 1 << 64


def read_text(path: Path) -> str:
    """Return the stripped text of a file, without the NUL that ends strings of a device tree; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip().rstrip("\0")
    except (OSError, ValueError):  # a sensor may refuse while it sleeps
        return ""


def read_int(path: Path) -> int | None:
    """Return a file's whole number, decimal or 0x...; None where there is none."""
    return whole_number(read_text(path), 0)


def whole_number(text: str, base: int = 10) -> int | None:
    """Return a number as the kernel writes them, of at most 64 bits; None for anything else."""
    try:
        number = int(text, base)
    except ValueError:
        return None
    return number if abs(number) < _TOO_LARGE else None


def entries(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield what a folder holds, in the order of names; nothing where it is missing or may not be read."""
    try:
        yield from sorted(folder.glob(pattern))
    except OSError:
        return
