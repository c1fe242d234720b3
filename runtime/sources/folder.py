"""Frames from the images of a folder, once or as they arrive."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from jetspect.errors import SourceError
from jetspect.runtime.frames import Frame, LostFrame, SourceCounters
from jetspect.runtime.images import SUFFIXES
from jetspect.runtime.settings import LocalPath, Settings
from jetspect.runtime.sources.files import Look, look_at, natural, read_item
from jetspect.runtime.sources.stoppable import StoppableSource
from jetspect.runtime.sources.watched import Watched

log = logging.getLogger(__name__)


class FolderSettings(Settings):
    """``[source]`` with ``kind = "folder"``."""

    kind: Literal["folder"] = "folder"
    path: LocalPath = Field(description="Folder with images")
    recursive: bool = Field(False, description="Take sub-folders too")
    watch: bool = Field(False, description="Wait for new images instead of ending after the last one")
    skip_existing: bool = Field(False, description="With watch: leave alone what is there at the start")
    patience_s: float = Field(
        2.0, ge=0, le=300, description="With watch: how long a file may be unreadable before it counts as lost, seconds"
    )
    poll_s: float = Field(0.2, gt=0, le=60, description="With watch: pause between two looks at the folder, seconds")


class FolderSource(StoppableSource):
    """Reads the images of a folder in natural order (``img2`` before ``img10``).

    A file that cannot be read or decoded becomes a LostFrame. While watching, a file counts as written once its size
    and time stayed the same from one look to the next and it can be read, a rewritten file comes again, and hidden files
    and names that end in ``.tmp`` or ``.part`` wait for their final name. While the folder cannot be listed the source is not
    connected, and what was taken already is not taken again afterwards.

    Raises
    ------
    SourceError
        The path is missing or not a folder, or holds no image (without ``watch``).
    """

    def __init__(self, settings: FolderSettings) -> None:
        super().__init__()
        self._settings = settings
        self._counters = SourceCounters()
        self._unsure: dict[Path, str] = {}
        path = settings.path
        if not path.is_dir():
            what = "is a file, not a folder; name the folder it lies in" if path.exists() else "does not exist"
            raise SourceError(f"source folder {path} {what}")
        if settings.watch:
            self._look()
        elif not self._all():
            raise SourceError(f"source folder {path} holds no image ({', '.join(sorted(SUFFIXES))})")

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        if self._settings.watch:
            yield from self._watch()
            return
        for path in sorted(self._all(), key=natural):
            if self._stop.is_set():
                return
            yield read_item(path, self._settings.path)

    def counters(self) -> SourceCounters:
        return self._counters

    def _all(self) -> list[Path]:
        """Return every image; one that cannot be looked at cannot be read either, and is told as lost then."""
        root = self._settings.path
        try:
            look = look_at(root, recursive=self._settings.recursive)
        except OSError as error:
            raise SourceError(f"source folder {root} cannot be read: {error.strerror or error}") from error
        self._tell_unsure(look)
        return [*look.images, *(path for path in look.unsure if path.suffix.lower() in SUFFIXES)]

    def _watch(self) -> Iterator[Frame | LostFrame]:
        known = Watched(self._settings.patience_s)
        skip = self._settings.skip_existing
        while not self._stop.is_set():
            look = self._look()
            if look is not None and skip:
                known.skip(look)
                skip = False
            elif look is not None:
                for path in known.written(look):
                    if self._stop.is_set():
                        return
                    item = read_item(path, self._settings.path)
                    if isinstance(item, Frame) or not known.wait_for(path, look):
                        known.taken(path, look)
                        yield item
                known.forget(look)
            self._stop.wait(self._settings.poll_s)

    def _look(self) -> Look | None:
        """List the folder; None where it cannot be listed now, which says nothing of the images in it."""
        root, before = self._settings.path, self._counters
        try:
            look = look_at(root, recursive=self._settings.recursive)
        except OSError as error:
            fault = f"source folder {root} cannot be read: {error.strerror or error}"
            self._counters = replace(before, connected=False, fault=fault)
            if fault != before.fault:  # once per cause: there are several looks per second
                log.warning("%s; looking again every %g s", fault, self._settings.poll_s)
            return None
        if not before.connected:
            self._counters = replace(before, connected=True, reconnects=before.reconnects + 1, fault="")
            log.warning("source folder %s can be read again (so far: %d)", root, self._counters.reconnects)
        self._tell_unsure(look)
        return look

    def _tell_unsure(self, look: Look) -> None:
        for path, why in look.unsure.items():
            if self._unsure.get(path) != why:
                log.warning("%s cannot be looked at: %s", path, why)
        self._unsure = look.unsure
