"""Wheels for the Debian root, made once for each state of the sources, and installed as by devices without a network."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path

from jetspect.errors import ProvisionError
from jetspect.provisioning.target import Target
from jetspect.provisioning.wheelhouse import Wheelhouse, build_wheelhouse

REPOSITORY = Path(__file__).resolve().parents[2]
CONSTRAINTS = REPOSITORY / "tests" / "constraints.txt"
DEBIAN = Target("x86_64", "3.11")
"""Of tests/debian_root.sh: Debian 12."""


def offline_wheels() -> Wheelhouse:
    """Return the wheelhouse of this checkout, with the extra ``sign``."""
    home = REPOSITORY / ".wheelhouse"
    home.mkdir(exist_ok=True)
    stamp, folder, now = home / "sources.sha256", home / "debian", _sources()
    with (home / "lock").open("w") as lock:  # two workers want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == now:
            try:
                return Wheelhouse.open(folder, DEBIAN)
            except ProvisionError:  # someone was at it
                pass
        made = build_wheelhouse(folder, DEBIAN, extras=("sign",), constraint=CONSTRAINTS)
        stamp.write_text(now)
        return made


def _sources() -> str:
    """Hash everything that is in the wheel or decides what is beside it."""
    package = REPOSITORY / "jetspect"
    folders = [path.resolve() for path in package.iterdir() if path.is_symlink()]
    found = [
        path
        for folder in (package, *folders)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and "ansible" not in path.parts  # no part of the wheel
    ]
    seen = hashlib.sha256()
    for path in sorted({*found, CONSTRAINTS, REPOSITORY / "setup.cfg", REPOSITORY / "pyproject.toml"}):
        seen.update(f"{path.relative_to(REPOSITORY)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return seen.hexdigest()
