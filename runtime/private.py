"""Folders for what is made on this device and run again: engines and compiled kernels. Only their user may write there."""

from __future__ import annotations

import os
import stat
import tempfile
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
        # One by one: mkdir(parents=True) would leave the mode of the upper ones to the umask.
        for part in (*reversed(folder.parents), folder):
            if not part.exists():
                part.mkdir(mode=0o700, exist_ok=True)
        found, above = folder.stat(), folder.parent.stat()
    except OSError as error:
        raise EngineError(
            f"{folder} cannot be made: {error.strerror or error}; set {VARIABLE} to a folder of yours"
        ) from error
    require_private(folder, found)
    if above.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not above.st_mode & stat.S_ISVTX:
        raise EngineError(
            f"{folder.parent} can be written by others (mode {stat.S_IMODE(above.st_mode):04o}), who could put another "
            f"{folder.name} there; what lies in it is executed: chmod go-w {folder.parent}"
        )
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


def read_private(path: Path, *, then: str = "delete it") -> bytes | None:
    """Return a file's bytes, None where there is none; ``then`` is what an error tells to do.

    Raises
    ------
    EngineError
        It cannot be read, is no plain file, belongs to someone else, or others may read or write it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}; {then}") from error
    try:
        # What was opened is looked at, not what has the name now.
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise EngineError(f"{path} is no plain file; {then}")
        require_private(path, found, unread=True)
        with os.fdopen(os.dup(handle), "rb") as stream:
            return stream.read()
    finally:
        os.close(handle)


def write_private(path: Path, data: bytes) -> None:
    """Write a file of mode 0600, whole or not at all, also through a power cut; EngineError where it cannot be written."""
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(handle)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EngineError(
            f"{path} cannot be written: {error.strerror or error}; make room or free the folder"
        ) from error
