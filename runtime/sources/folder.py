"""Frames from the images of a folder, once or as they arrive."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal

from pydantic import Field

from jetspect.errors import ImageError, SourceError
from jetspect.runtime.frames import Frame, LostFrame, SourceCounters
from jetspect.runtime.images import SUFFIXES, read_image
from jetspect.runtime.settings import LocalPath, Settings

log = logging.getLogger(__name__)
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")
_Seen = tuple[int, int]  # mtime_ns, size


class FolderSettings(Settings):
    """``[source]`` with ``kind = "folder"``."""

    kind: Literal["folder"] = "folder"
    path: LocalPath = Field(description="Folder with images")
    recursive: bool = Field(False, description="Take sub-folders too")
    watch: bool = Field(False, description="Wait for new images instead of ending after the last one")
    skip_existing: bool = Field(False, description="With watch: leave alone what is there at the start")
    poll_s: float = Field(0.2, gt=0, le=60, description="With watch: pause between two looks at the folder, seconds")


class FolderSource:
    """Reads the images of a folder in natural order (``img2`` before ``img10``).

    A file that cannot be read or decoded becomes a LostFrame. While watching, a file counts as written once its size
    and time stayed the same from one look to the next, a rewritten file comes again, and hidden files and names that
    end in ``.tmp`` or ``.part`` wait for their final name.

    Raises
    ------
    SourceError
        The path is missing or not a folder, or holds no image (without ``watch``).
    """

    def __init__(self, settings: FolderSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        path = settings.path
        if not path.is_dir():
            what = "is a file, not a folder; name the folder it lies in" if path.exists() else "does not exist"
            raise SourceError(f"source folder {path} {what}")
        if not settings.watch and not self._look():
            raise SourceError(f"source folder {path} holds no image ({', '.join(sorted(SUFFIXES))})")

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        if not self._settings.watch:
            for path in sorted(self._look(), key=_natural):
                if self._stop.is_set():
                    return
                yield self._read(path)
            return
        done: dict[Path, _Seen] = self._look() if self._settings.skip_existing else {}
        before: dict[Path, _Seen] = {}
        while not self._stop.is_set():
            now = self._look()
            for path in sorted(now, key=_natural):
                if now[path] == before.get(path) and now[path] != done.get(path) and not self._stop.is_set():
                    done[path] = now[path]
                    yield self._read(path)
            # Forget what was taken away, so that years of parts do not fill the memory.
            done = {path: seen for path, seen in done.items() if path in now}
            before = now
            self._stop.wait(self._settings.poll_s)

    def counters(self) -> SourceCounters:
        return SourceCounters()

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.stop()

    def __enter__(self) -> FolderSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _look(self) -> dict[Path, _Seen]:
        root = self._settings.path
        found: dict[Path, _Seen] = {}
        try:
            entries = root.rglob("*") if self._settings.recursive else root.iterdir()
            for path in entries:
                name = path.name.lower()
                if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not name.endswith(_UNFINISHED):
                    seen = _stat(path)
                    if seen is not None:
                        found[path] = seen
        except OSError as error:
            if not self._settings.watch:
                raise SourceError(f"source folder {root} cannot be read: {error.strerror or error}") from error
            log.warning("source folder %s cannot be read: %s; looking again", root, error.strerror or error)
        return found

    def _read(self, path: Path) -> Frame | LostFrame:
        name, origin = (_utf8(p.as_posix()) for p in (path.relative_to(self._settings.path), path))
        try:
            return Frame(read_image(path), frame_id=name, origin=origin)
        except ImageError as error:
            return LostFrame(frame_id=name, reason=_utf8(str(error)), origin=origin)


def _stat(path: Path) -> _Seen | None:
    try:
        stat = path.stat()
    except OSError:  # taken away between listing and looking
        return None
    return stat.st_mtime_ns, stat.st_size


def _utf8(name: str) -> str:
    """Return a name that can be published: bytes of a file name that are not UTF-8 are written as ``\\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sort key: digits by value, letters by case-folded text."""
    return [
        (0, int(part), "") if part.isdecimal() else (1, 0, part.casefold())
        for part in re.split(r"(\d+)", path.as_posix())
        if part
    ]
