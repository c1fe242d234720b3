"""Cameras that the kernel knows (Video4Linux): USB cameras, and CSI cameras of a Jetson."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetspect.runtime.sources.files import natural

SYSFS = Path("/sys/class/video4linux")


@dataclass(frozen=True)
class VideoDevice:
    """One device node. A USB camera has several: the one with index 0 delivers pictures, others describe them."""

    device: str
    name: str
    index: int


def find_video_devices(root: Path = SYSFS) -> list[VideoDevice]:
    """Return the devices in the order of their numbers; none where the kernel has none."""
    try:
        nodes = sorted(root.glob("video*"), key=natural)
    except OSError:
        return []
    return [
        VideoDevice(f"/dev/{node.name}", _read(node / "name") or "unnamed", int(_read(node / "index") or 0))
        for node in nodes
    ]


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:  # taken away while we look
        return ""
