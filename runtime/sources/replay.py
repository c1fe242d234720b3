"""A recorded folder, played as it happened: the same images with the same pauses, faster or slower."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.images import SUFFIXES
from jetspect.runtime.publishing.message_base import Utc
from jetspect.runtime.settings import LocalPath, Settings
from jetspect.runtime.sources.files import images_in, natural, read_item
from jetspect.runtime.sources.stoppable import StoppableSource

log = logging.getLogger(__name__)
INDEX = "frames.jsonl"
_SHOWN_FAULTS = 5


class ReplaySettings(Settings):
    """``[source]`` with ``kind = "replay"``."""

    kind: Literal["replay"] = "replay"
    path: LocalPath = Field(description=f"Folder with images and, where it was recorded with one, {INDEX}")
    times: Literal["index", "modified"] = Field(
        "index", description=f"Times of {INDEX}, or when each file was last modified"
    )
    speed: float = Field(1.0, gt=0, le=1000, description="2 plays twice as fast")
    longest_pause_s: float | None = Field(
        None, ge=0, description="Recorded pauses are cut to this before speed counts, seconds; None: kept"
    )
    loop: bool = Field(False, description="Begin again after the last image")


class IndexLine(BaseModel):
    """One line of the index: ``{"file": "0001.png", "captured_at": "2026-05-04T06:30:00.250Z", "part_id": "P17"}``."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str
    captured_at: Utc
    part_id: str | None = None

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError("must be a path inside the folder")
        return value


@dataclass(frozen=True)
class _Recorded:
    path: Path
    at: datetime
    part_id: str | None = None


class ReplaySource(StoppableSource):
    """Delivers the images in the order of their times; ``captured_at`` is the recorded time.

    A taker that is slower than the recording gets the next image at once; drop policies are the queue's, as with a camera.

    Raises
    ------
    SourceError
        The folder is missing, holds no image, or has no index where its times are asked for.
    InputError
        The index has faults; the first ones are listed by line.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        super().__init__()
        self._settings = settings
        if not settings.path.is_dir():
            what = "is a file, not a folder" if settings.path.exists() else "does not exist"
            raise SourceError(f"recorded folder {settings.path} {what}; name the folder with the images")
        recorded = _from_index(settings.path) if settings.times == "index" else _from_files(settings.path)
        self._recorded = sorted(recorded, key=lambda entry: entry.at)
        if not self._recorded:
            raise SourceError(f"recorded folder {settings.path} holds no image ({', '.join(sorted(SUFFIXES))})")

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        while not self._stop.is_set():
            yield from self._once()
            if not self._settings.loop:
                return

    def _once(self) -> Iterator[Frame | LostFrame]:
        due = time.monotonic()
        before = self._recorded[0].at
        for entry in self._recorded:
            pause_s = (entry.at - before).total_seconds()
            if self._settings.longest_pause_s is not None:
                pause_s = min(pause_s, self._settings.longest_pause_s)
            due += pause_s / self._settings.speed
            before = entry.at
            # Read before the pause: how long that takes must not move the image.
            item = read_item(entry.path, self._settings.path, entry.at, entry.part_id)
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            yield item


def _from_index(folder: Path) -> list[_Recorded]:
    path = folder / INDEX
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise SourceError(
            f'{path} does not exist; to play the images by the times of their files, set times = "modified"'
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    recorded: list[_Recorded] = []
    faults: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = IndexLine.model_validate(json.loads(line))
        except ValueError as error:  # json's and pydantic's
            faults.append(f"line {number}: {_fault(error)}")
            continue
        recorded.append(_Recorded(folder / entry.file, entry.captured_at, entry.part_id))
    if faults:
        more = f" and {len(faults) - _SHOWN_FAULTS} more" if len(faults) > _SHOWN_FAULTS else ""
        raise InputError(f"{path}: {'; '.join(faults[:_SHOWN_FAULTS])}{more}; mend or remove these lines")
    return recorded


def _fault(error: ValueError) -> str:
    if not isinstance(error, ValidationError):
        return f"is not JSON ({error})"
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'].removeprefix('Value error, ')}"


def _from_files(folder: Path) -> list[_Recorded]:
    try:
        found = images_in(folder, recursive=False)
    except OSError as error:
        raise SourceError(f"recorded folder {folder} cannot be read: {error.strerror or error}") from error
    # Sorted by name first, so that files of one moment keep their order.
    return [
        _Recorded(path, datetime.fromtimestamp(found[path][0] / 1e9, timezone.utc))
        for path in sorted(found, key=natural)
    ]
