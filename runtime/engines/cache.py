"""Engines on disk. An engine is code that TensorRT executes, so only files that nobody else could have written are loaded.

The folder has mode 0700 and its files 0600, all of this user's. The engine's hash is compared with its sidecar before TensorRT
sees a byte. Files appear whole or not at all, and one build at a time holds the folder's lock: two would spoil each other's
timings.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from jetspect.errors import EngineError
from jetspect.runtime.engines.sidecar import EngineKey, Sidecar
from jetspect.runtime.private import cache_path, read_private, require_private, write_private

log = logging.getLogger(__name__)
ENGINE_DIR = "JETSPECT_ENGINE_DIR"
_LOCK = "build.lock"


def default_folder() -> Path:
    """Return $JETSPECT_ENGINE_DIR, else engines in jetspect's cache folder of this user."""
    given = os.environ.get(ENGINE_DIR)
    return Path(given).expanduser() if given else cache_path("engines")


class EngineStore:
    """One folder of engines.

    Raises
    ------
    EngineError
        The folder cannot be made, or others may write to it or own it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = folder.stat()
        except OSError as error:
            raise EngineError(
                f"engine folder {folder} cannot be used: {error.strerror or error}; choose another with --engine-dir, or "
                f"engine.folder in the station file, or ${ENGINE_DIR}"
            ) from error
        require_private(folder, status, unread=True)

    def engine(self, key: EngineKey) -> Path:
        return self.folder / f"{key.name}.engine"

    def sidecar(self, key: EngineKey) -> Path:
        return self.folder / f"{key.name}.json"

    def load(self, key: EngineKey) -> tuple[bytes, Sidecar] | None:
        """Return the engine and its sidecar; None where it was never built.

        Raises
        ------
        EngineError
            A file is not this user's alone, is cut short, was changed, or is another engine's.
        """
        path = self.sidecar(key)
        text = _read(path)
        if text is None:
            return None
        sidecar = _parse(path, text)
        if sidecar.key != key:
            found = ", ".join(key.differences(sidecar.key))
            raise EngineError(f"{path} describes another engine ({found}); {_rebuild(path)}")
        engine = self.engine(key)
        plan = _read(engine)
        if plan is None:
            raise EngineError(f"{path} is there but {engine.name} is not; {_rebuild(path)}")
        if len(plan) != sidecar.engine_bytes:
            raise EngineError(
                f"{engine} has {len(plan)} bytes, its sidecar says {sidecar.engine_bytes}; {_rebuild(path)}"
            )
        if hashlib.sha256(plan).hexdigest() != sidecar.engine_sha256:
            raise EngineError(f"{engine} is not the engine that its sidecar names: it was changed; {_rebuild(path)}")
        return plan, sidecar

    def nearest(self, key: EngineKey, bundle: str) -> list[str]:
        """Say what the most similar engine here has otherwise than ``key``; nothing where there is none of that bundle."""
        found: list[list[str]] = []
        for path in sorted(self.folder.glob("*.json")):
            with suppress(EngineError):
                sidecar = _parse(path, _read(path) or b"")
                same = sidecar.key.graph_sha256 == key.graph_sha256 or sidecar.bundle.split()[0] == bundle.split()[0]
                if same and sidecar.key.precision == key.precision:
                    found.append(key.differences(sidecar.key))
        return min(found, key=len, default=[])

    def save(self, plan: bytes, sidecar: Sidecar) -> Path:
        """Write both files, the sidecar last: an engine without one is not there. Returns the engine's path."""
        engine, beside = self.engine(sidecar.key), self.sidecar(sidecar.key)
        with suppress(FileNotFoundError):
            beside.unlink()
        write_private(engine, plan)
        write_private(beside, sidecar.model_dump_json(indent=2).encode() + b"\n")
        return engine

    def timing_cache(self, name: str) -> bytes:
        """Return kernel timings of earlier builds on this device, empty without any."""
        return _read(self.folder / f"{name}.timings") or b""

    def save_timing_cache(self, name: str, data: bytes) -> None:
        write_private(self.folder / f"{name}.timings", data)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one build; waits while another process builds."""
        path = self.folder / _LOCK
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise EngineError(f"{path} cannot be locked: {error.strerror or error}; choose another folder") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("another process builds in %s; waiting for it", self.folder)
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def built_for(folder: Path, graph_sha256: str) -> str:
    """Name the engines of a graph that lie in a folder, without opening a device; empty where there is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(EngineError):
            sidecar = _parse(path, _read(path) or b"")
            if sidecar.key.graph_sha256 == graph_sha256:
                found.append(f"{sidecar.key.name} {sidecar.engine_sha256[:16]}")
    return ", ".join(found)


def _read(path: Path) -> bytes | None:
    return read_private(path, then=_rebuild(path))


def _parse(path: Path, text: bytes) -> Sidecar:
    try:
        return Sidecar.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise EngineError(f"{path} is no sidecar of an engine ({where}: {first['msg']}); {_rebuild(path)}") from error


def _rebuild(path: Path) -> str:
    return f"build it again with jetspect build --rebuild, or delete {path.with_suffix('').name}.* in {path.parent}"
