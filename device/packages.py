"""Versions of Debian packages, from dpkg's own file: no process is started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from jetspect.device.files import ROOT

_STATUS = "var/lib/dpkg/status"


def installed_packages(root: Path = ROOT) -> Mapping[str, str]:
    """Return name -> version of every package that is installed; empty on a system without dpkg."""
    try:
        text = (root / _STATUS).read_text("utf-8", "replace")
    except OSError:
        return {}
    found: dict[str, str] = {}
    for block in text.split("\n\n"):
        name = version = status = ""
        for line in block.splitlines():
            key, _, value = line.partition(": ")
            if key == "Package":
                name = value
            elif key == "Version":
                version = value
            elif key == "Status":
                status = value
        if name and status.endswith(" installed"):
            found[name] = version
    return found


def upstream(version: str) -> str:
    """Return a Debian version without epoch, revision and build suffix: ``1:10.3.0.30-1+cuda12.5`` is ``10.3.0.30``."""
    return version.rpartition(":")[2].partition("-")[0].partition("+")[0]
