"""What keeps a service from running well, seen before it starts: files that its user may not read, silence nobody notices."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from jetspect.runtime.config import StationConfig
from jetspect.runtime.service.folders import as_seen, named_paths
from jetspect.runtime.sources.gige import GigeSettings
from jetspect.runtime.sources.gstreamer import GStreamerSettings

_WRITTEN = ("outbox.path", "evidence.folder", "bundle.slots")  # made by the service, or for it
_READ, _ENTER = 0o4, 0o1


def advice(config: StationConfig, user: str, station: Path, python: Path, root: Path) -> Iterator[str]:
    """Yield a line for each; ``station`` and ``python`` lie below ``root``, as the paths of ``config`` do."""
    named = (path for key, path in named_paths(config) if key not in _WRITTEN)
    told = set()
    for path in (station, python, *named):
        if (fault := refused(path, user, root)) and fault not in told:
            told.add(fault)
            yield fault
    if _runs_free(config) and (config.metrics is None or config.metrics.idle_s is None):
        yield (
            "the camera runs free, and nothing notices a driver that hangs without an error: on a line that never pauses set "
            "[metrics] idle_s, such as 60"
        )


def _runs_free(config: StationConfig) -> bool:
    return config.trigger is None and any(
        (isinstance(s, GigeSettings) and s.trigger is None) or (isinstance(s, GStreamerSettings) and s.timeout_s > 0)
        for s in config.sources.values()
    )


def refused(path: Path, user: str, root: Path) -> str:
    """Say why a user may not read a file that is there; empty where it may, or where that cannot be told."""
    try:
        path = path.resolve()
        for folder in reversed(path.parents):
            if folder.is_relative_to(root) and not _may(folder, user, root, _ENTER):
                seen = as_seen(folder, root)
                return f"{user} may not enter {seen} ({_owner(folder)}), where {path.name} lies; run: sudo chmod o+x {seen}"
        if path.is_file() and not _may(path, user, root, _READ):
            seen = as_seen(path, root)
            return f"{user} may not read {seen} ({_owner(path)}); run: sudo chown {user} {seen}"
    except OSError:
        return ""
    return ""


def _may(path: Path, user: str, root: Path, bit: int) -> bool:
    found = path.stat()
    if found.st_mode & bit:
        return True
    if root != Path("/"):  # its user is made at the first boot, and is not the one who makes this root
        return found.st_uid not in (0, os.geteuid())
    try:
        known = pwd.getpwnam(user)
    except KeyError:
        return False  # it is made by the install, and nothing belongs to it yet
    if found.st_uid == known.pw_uid:
        return bool(found.st_mode & bit << 6)
    return found.st_gid in os.getgrouplist(user, known.pw_gid) and bool(found.st_mode & bit << 3)


def _owner(path: Path) -> str:
    found = path.stat()
    return f"{_name(found.st_uid)}:{_group(found.st_gid)}, mode {stat.S_IMODE(found.st_mode):04o}"


def _name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
