"""A tar that is unpacked over a root file system: the same entries give the same bytes, whoever writes it and when."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetspect.errors import ProvisionError

_EPOCH = 1577836800  # 2020-01-01, where $SOURCE_DATE_EPOCH does not say otherwise


@dataclass(frozen=True)
class Entry:
    """A file, a link or a folder, as ``path`` on the unit; it belongs to root.

    Attributes
    ----------
    data
        The content, or the file that has it; None for links and folders.
    link
        What a link points at.
    """

    path: Path
    data: bytes | Path | None = None
    mode: int = 0o644
    link: str = ""


def write_overlay(target: Path, entries: Iterable[Entry]) -> None:
    """Write a tar, mode 0600, whole or not at all.

    Raises
    ------
    ProvisionError
        It cannot be written.
    """
    epoch = _epoch()
    draft: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)  # mode 0600: there is a key in it
        draft = Path(name)
        with os.fdopen(handle, "wb") as stream:
            # Not pax, whose headers for long names some small tars do not read.
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for entry in sorted(entries, key=lambda e: e.path.parts):
                    _add(tar, entry, epoch)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(target)
        draft = None
    except OSError as error:
        raise ProvisionError(
            f"{target} cannot be written: {error.strerror or error}; make room, or take another --out"
        ) from error
    finally:
        if draft is not None:
            draft.unlink(missing_ok=True)


def read_entries(overlay: Path, paths: Iterable[Path]) -> Mapping[Path, bytes]:
    """Return the content of files in an overlay that was written before; those that it has not are left out.

    Raises
    ------
    ProvisionError
        It is there and cannot be read.
    """
    wanted = {_inside(path): path for path in paths}
    found: dict[Path, bytes] = {}
    try:
        with tarfile.open(overlay, mode="r:") as tar:
            for member in tar:
                if member.name in wanted and member.isreg() and (stream := tar.extractfile(member)) is not None:
                    found[wanted[member.name]] = stream.read()
                if len(found) == len(wanted):
                    break
    except FileNotFoundError:
        return {}
    except (OSError, tarfile.TarError) as error:
        raise ProvisionError(
            f"{overlay} is not an overlay of ours ({error}); move it away, or take another --out"
        ) from error
    return found


def _add(tar: tarfile.TarFile, entry: Entry, epoch: int) -> None:
    info = tarfile.TarInfo(_inside(entry.path))
    info.mtime, info.mode = epoch, entry.mode  # owner 0:0, and no names: that is what TarInfo begins with
    if entry.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(info)
    elif entry.data is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif isinstance(entry.data, bytes):
        info.size = len(entry.data)
        tar.addfile(info, io.BytesIO(entry.data))
    else:
        info.size = entry.data.stat().st_size
        with entry.data.open("rb") as stream:
            tar.addfile(info, stream)


def _inside(path: Path) -> str:
    return str(path.relative_to("/"))


def _epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if text and not text.isdecimal():
        raise ProvisionError(f"SOURCE_DATE_EPOCH is seconds since 1970, got {text!r}; set a number, or unset it")
    return int(text) if text else _EPOCH
