"""Image files as frames: which ones a folder holds, in which order, and what becomes of one that cannot be read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jetspect.errors import ImageError
from jetspect.runtime.frames import Frame, LostFrame, utc_now
from jetspect.runtime.images import SUFFIXES, read_image

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")
Seen = tuple[int, int]
"""mtime_ns and size of a file."""


@dataclass(frozen=True)
class Look:
    """What a folder held at one moment; hidden images and those with an unfinished name are left out.

    Attributes
    ----------
    unsure
        Images and sub-folders that may be there, and why they could not be looked at.
    place
        Device and inode of the folder: another one where it was exchanged or unmounted.
    """

    images: dict[Path, Seen]
    unsure: dict[Path, str]
    place: tuple[int, int]

    def may_hold(self, path: Path) -> bool:
        return path in self.images or not self.unsure.keys().isdisjoint((path, *path.parents))


def look_at(root: Path, *, recursive: bool) -> Look:
    """List a folder. Raises OSError where the folder itself cannot be listed."""
    place = root.stat()
    look = Look({}, {}, (place.st_dev, place.st_ino))
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError as error:
            if folder == root:
                raise
            _unsure(look, folder, error)
            continue
        for entry in entries:
            path = folder / entry.name
            try:
                if recursive and entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                if _is_image(path):
                    found = path.stat()
                    look.images[path] = (found.st_mtime_ns, found.st_size)
            except OSError as error:
                _unsure(look, path, error)
    return look


def _unsure(look: Look, path: Path, error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # taken away between listing and looking
        look.unsure[path] = error.strerror or str(error)


def _is_image(path: Path) -> bool:
    name = path.name.lower()
    return path.suffix.lower() in SUFFIXES and not name.startswith(".") and not name.endswith(_UNFINISHED)


def images_in(root: Path, *, recursive: bool) -> dict[Path, Seen]:
    """Return the images of a folder that can be looked at. Raises OSError."""
    return look_at(root, recursive=recursive).images


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
