"""Boards to read from: the files of tests/device/trees, unpacked."""

from __future__ import annotations

import json
from pathlib import Path

TREES = Path(__file__).resolve().parents[1] / "device" / "trees"
BOARDS = ("orin-nano", "orin-nx", "agx-orin", "thor")


def unpack(board: str, folder: Path) -> Path:
    """Write a board's files into a folder; return it, to be used as the root."""
    for name, text in json.loads((TREES / f"{board}.json").read_text()).items():
        put(folder, name, text)
    return folder


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")
