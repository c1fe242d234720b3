"""Image files as frames: which ones a folder holds, in which order, and what becomes of one that cannot be read."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path

from jetspect.errors import ImageError
from jetspect.runtime.frames import Frame, LostFrame, utc_now
from jetspect.runtime.images import SUFFIXES, read_image

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")
Seen = tuple[int, int]
"""mtime_ns and size of a file."""


def images_in(root: Path, *, recursive: bool) -> dict[Path, Seen]:
    """Return the images of a folder; hidden ones and those with an unfinished name are left out. Raises OSError."""
    found: dict[Path, Seen] = {}
    for path in root.rglob("*") if recursive else root.iterdir():
        name = path.name.lower()
        if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not name.endswith(_UNFINISHED):
            try:
                stat = path.stat()
            except OSError:  # taken away between listing and looking
                continue
            found[path] = (stat.st_mtime_ns, stat.st_size)
    return found


def read_item(path: Path, root: Path, at: datetime | None = None, part_id: str | None = None) -> Frame | LostFrame:
    """Read one image of a folder; what cannot be read is a LostFrame. ``at``: when it was captured; None: now."""
    name, origin = (_utf8(p.as_posix()) for p in (path.relative_to(root), path))
    at = at or utc_now()
    try:
        return Frame(read_image(path), name, at, part_id, origin)
    except ImageError as error:
        return LostFrame(name, _utf8(str(error)), at, part_id, origin)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key: digits by value, letters by case-folded text (``img2`` before ``img10``)."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", path.as_posix())
        if part
    ]


def _utf8(name: str) -> str:
    """Return a name that can be published: bytes of a file name that are not UTF-8 are written as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
