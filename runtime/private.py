"""Folders for what is made on this device and run again: engines and compiled kernels. Only their user may write there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from jetspect.errors import EngineError

VARIABLE = "JETSPECT_CACHE"


def private_folder(name: str) -> Path:
    """Return a folder in ``$JETSPECT_CACHE``, else ``$XDG_CACHE_HOME/jetspect``, else ``~/.cache/jetspect``; made if need be.

    Raises
    ------
    EngineError
        It cannot be made, belongs to someone else, or others may write there.
    """
    folder = cache_path(name)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise EngineError(
            f"{folder} cannot be made: {error.strerror or error}; set {VARIABLE} to a folder of yours"
        ) from error
    require_private(folder, found)
    return folder


def cache_path(name: str) -> Path:
    """Return where :func:`private_folder` makes a folder, without making it."""
    if base := os.environ.get(VARIABLE):
        return Path(base) / name
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "jetspect" / name


def require_private(path: Path, found: os.stat_result, *, unread: bool = False) -> None:
    """Refuse a file or folder that belongs to another user, or that others may write to: what lies there is executed.

    With ``unread`` also one that others may read.
    """
    if found.st_uid != os.geteuid():
        raise EngineError(
            f"{path} belongs to user {found.st_uid}, this is user {os.geteuid()}; what lies there is executed: "
            f"give it to this user with chown, or set {VARIABLE} to a folder of yours"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise EngineError(
            f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o}); what lies there is executed: "
            f"chmod go-w {path}"
        )
    if unread and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise EngineError(
            f"{path} can be read by others (mode {stat.S_IMODE(found.st_mode):04o}); what lies there is this user's alone: "
            f"chmod go-rwx {path}"
        )
