"""Put the files of a bundle on disk, whole or not at all."""

from __future__ import annotations

import ctypes
import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.errors import BundleError, EngineError, ExportError
from jetspect.runtime.bundle import MANIFEST, SUMS, Bundle
from jetspect.runtime.engines import open_engine


def refuse_to_lose(out: Path, *, force: bool) -> None:
    """Raise ExportError where writing to ``out`` would replace something; with ``force``, anything but a bundle."""
    if not out.exists() and not out.is_symlink():
        return
    if not force:
        raise ExportError(f"{out} exists; choose another --out or replace it with --force")
    entries = list(out.iterdir()) if out.is_dir() else []
    whole = {SUMS, MANIFEST} <= {entry.name for entry in entries} and not any(entry.is_dir() for entry in entries)
    if not out.is_dir() or (entries and not whole):
        raise ExportError(f"{out} exists and is no bundle, so it is not replaced; choose another --out")


def write_bundle(files: dict[str, bytes], out: Path, *, force: bool) -> None:
    """Write files and SHA256SUMS beside ``out``, open them as a device would, then move them into place.

    Raises
    ------
    ExportError
        The folder cannot be written, or what was written does not open or does not reproduce its golden tiles.
    """
    target = out.resolve()
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            for name, data in {**files, SUMS: sums.encode()}.items():
                (draft / name).write_bytes(data)
            draft.chmod(0o755)
            _prove(draft)
            refuse_to_lose(target, force=force)
            _move(draft, target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror or error}") from error


def pack(**arrays: npt.NDArray[np.uint8]) -> bytes:
    """Compress arrays into .npz bytes that depend on nothing but the arrays."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)  # NumPy gives its zip entries a fixed date
    return stream.getvalue()


def _prove(folder: Path) -> None:
    try:
        bundle = Bundle.open(folder)
        for precision in bundle.manifest.graphs:
            engine, _ = open_engine(bundle, precision=precision)
            engine.close()
    except (BundleError, EngineError) as error:
        raise ExportError(f"the bundle does not stand its own check, nothing was written: {error}") from error


def exchange(one: Path, other: Path) -> bool:
    """Swap two folders of one file system in a single step, so that a killed process leaves one or the other whole.

    False, and nothing changed, where the system cannot (renameat2 of Linux from 3.15 on).
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return call is not None and call(here, os.fsencode(one), here, os.fsencode(other), swap) == 0


def _move(draft: Path, target: Path) -> None:
    """Swap the draft in; what stood there before goes only after the new one stands."""
    if not target.exists():
        draft.rename(target)
        return
    if exchange(draft, target):
        shutil.rmtree(draft, ignore_errors=True)  # the new one stands, whatever becomes of the old
        return
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(old)
    try:
        draft.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)
