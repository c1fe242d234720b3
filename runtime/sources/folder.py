"""Frames from the images of a folder, once or as they arrive."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from jetspect.errors import SourceError
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.images import SUFFIXES
from jetspect.runtime.settings import LocalPath, Settings
from jetspect.runtime.sources.files import Seen, images_in, natural, read_item
from jetspect.runtime.sources.stoppable import StoppableSource

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
    and names that end in ``.tmp`` or ``.part`` wait for their final name.

    Raises
    ------
    SourceError
        The path is missing or not a folder, or holds no image (without ``watch``).
    """

    def __init__(self, settings: FolderSettings) -> None:
        super().__init__()
        self._settings = settings
        path = settings.path
        if not path.is_dir():
            what = "is a file, not a folder; name the folder it lies in" if path.exists() else "does not exist"
            raise SourceError(f"source folder {path} {what}")
        if not settings.watch and not self._look():
            raise SourceError(f"source folder {path} holds no image ({', '.join(sorted(SUFFIXES))})")

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        if self._settings.watch:
            yield from self._watch()
            return
        for path in sorted(self._look(), key=natural):
            if self._stop.is_set():
                return
            yield read_item(path, self._settings.path)

    def _watch(self) -> Iterator[Frame | LostFrame]:
        done: dict[Path, Seen] = self._look() if self._settings.skip_existing else {}
        before: dict[Path, Seen] = {}
        unreadable: dict[Path, tuple[Seen, float]] = {}
        while not self._stop.is_set():
            now = self._look()
            for path in sorted(now, key=natural):
                seen = now[path]
                if seen != before.get(path) or seen == done.get(path) or self._stop.is_set():
                    continue
                item = read_item(path, self._settings.path)
                if isinstance(item, LostFrame):
                    # Its writer may only have paused.
                    first, since = unreadable.get(path, (seen, time.monotonic()))
                    unreadable[path] = (seen, since if first == seen else time.monotonic())
                    if time.monotonic() - unreadable[path][1] < self._settings.patience_s:
                        continue
                done[path] = seen
                yield item
            # Forget what was taken away, so that years of parts do not fill the memory.
            done = {path: seen for path, seen in done.items() if path in now}
            unreadable = {path: entry for path, entry in unreadable.items() if path in now and path not in done}
            before = now
            self._stop.wait(self._settings.poll_s)

    def _look(self) -> dict[Path, Seen]:
        root = self._settings.path
        try:
            return images_in(root, recursive=self._settings.recursive)
        except OSError as error:
            if not self._settings.watch:
                raise SourceError(f"source folder {root} cannot be read: {error.strerror or error}") from error
            log.warning("source folder %s cannot be read: %s; looking again", root, error.strerror or error)
            return {}
