"""Read the files of a bundle, a folder or a .zip of one, and check them against SHA256SUMS before anything is parsed.

Every byte is read once: what is verified here is what runs, whatever happens on disk meanwhile.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from jetspect.errors import BundleError, BundleIntegrityError

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
MANIFEST = "manifest.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,119}")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_MAX_FILES = 64
_MAX_BYTES = 2 * 1024**3
# Weights hardly shrink. What shrinks more than this, and is large, is there to fill the memory.
_MAX_RATIO = 100
_SMALL_BYTES = 1024**2


def read_files(path: Path) -> dict[str, bytes]:
    """Return name -> bytes of a bundle's files, nothing parsed and nothing checked but names and sizes.

    Raises
    ------
    BundleIntegrityError
        A name, a link or a size that no bundle has.
    BundleError
        There is no bundle, or it cannot be read.
    """
    try:
        if path.is_dir():
            return _read_folder(path)
        if not path.exists():
            raise BundleError(f"{path} does not exist; give a bundle folder or a .zip of one")
        return _read_zip(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror or error}") from error


def check_sums(path: Path, files: Mapping[str, bytes]) -> None:
    """Raise BundleIntegrityError unless SHA256SUMS lists exactly the files there are, unchanged."""
    for needed in (SUMS, MANIFEST):
        if needed not in files:
            raise BundleError(f"{path} is no bundle: it has no {needed}")
    listed = _parse_sums(path, files[SUMS])
    present = set(files) - {SUMS, SIGNATURE}
    if missing := sorted(set(listed) - present):
        raise BundleIntegrityError(f"{path}: {', '.join(missing)} is missing; copy the bundle again")
    if extra := sorted(present - set(listed)):
        raise BundleIntegrityError(f"{path}: {', '.join(extra)} does not belong to the bundle ({SUMS}); remove it")
    for name, digest in listed.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise BundleIntegrityError(f"{path}: {name} changed since the bundle was written; copy the bundle again")


def _parse_sums(path: Path, data: bytes) -> dict[str, str]:
    listed: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise BundleIntegrityError(f"{path}: line {number} of {SUMS} is not '<sha256>  <name>'")
        if not _NAME.fullmatch(match[2]) or match[2] in (SUMS, SIGNATURE):
            raise BundleIntegrityError(f"{path}: {SUMS} names {match[2]!r}, which is not a file of the bundle")
        if match[2] in listed:
            raise BundleIntegrityError(f"{path}: {SUMS} names {match[2]} twice")
        listed[match[2]] = match[1]
    return listed


def _read_folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for entry in sorted(path.iterdir()):
        mode = entry.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise BundleIntegrityError(f"{path}: {entry.name} is a link and could leave the bundle; copy the file in")
        if not stat.S_ISREG(mode):
            raise BundleIntegrityError(f"{path}: {entry.name} is not a plain file; a bundle holds plain files only")
        # The entry may be swapped for a link or a pipe after the look above: neither is followed nor waited for.
        handle = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as stream:
            size = os.fstat(handle).st_size
            _admit(path, files, entry.name, size)
            files[entry.name] = stream.read(size)
    return files


def _read_zip(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                _admit(path, files, info.filename, info.file_size)
                if info.file_size > max(_SMALL_BYTES, _MAX_RATIO * info.compress_size):
                    raise BundleIntegrityError(
                        f"{path}: {info.filename} grows from {info.compress_size} to {info.file_size} bytes: no bundle"
                    )
                with archive.open(info) as stream:
                    data = stream.read(info.file_size + 1)
                if len(data) != info.file_size:
                    raise BundleIntegrityError(f"{path}: {info.filename} is not as long as the archive says")
                files[info.filename] = data
    # A damaged archive surfaces as whatever the parser or the decompressor trips over first.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, RuntimeError) as error:
        raise BundleError(f"{path} is not a readable .zip of a bundle ({error}); copy it again") from error
    return files


def _admit(path: Path, files: Mapping[str, bytes], name: str, size: int) -> None:
    """Refuse a file before it is read: by name (it could leave the bundle), count and size."""
    if not _NAME.fullmatch(name):
        raise BundleIntegrityError(
            f"{path}: the name {name!r} could leave the bundle; names are letters, digits, '.', '_' and '-', no folders"
            " (zip the files themselves, not the folder around them)"
        )
    if name.casefold() in {known.casefold() for known in files}:
        raise BundleIntegrityError(f"{path}: {name} is there twice (upper and lower case count as the same)")
    if len(files) >= _MAX_FILES or sum(map(len, files.values())) + size > _MAX_BYTES:
        raise BundleIntegrityError(f"{path} has more than {_MAX_FILES} files or {_MAX_BYTES // 1024**2} MiB: no bundle")
