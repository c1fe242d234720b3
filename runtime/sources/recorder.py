"""Write frames into a folder that the replay source plays."""

from __future__ import annotations

import errno
from pathlib import Path
from types import TracebackType
from typing import IO

import cv2

from jetspect.errors import InputError
from jetspect.runtime.frames import U8, Frame
from jetspect.runtime.sources.replay import INDEX, IndexLine

# Level 1 of 9 takes a third of the time of the default and a tenth more space.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def write_png(image: U8, path: Path) -> None:
    """Write an image without loss, whole or not at all. Raises InputError where that fails."""
    draft = path.with_name(f".{path.name}.tmp")
    try:
        draft.write_bytes(cv2.imencode(".png", image, _PNG)[1].tobytes())
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InputError(f"image {path} cannot be written: {_why(error)}") from error


class Recorder:
    """Keeps frames as PNG files with their times and parts. At any moment the folder can be played.

    Raises
    ------
    InputError
        The folder cannot be made, or is not empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: IO[bytes] | None = None
        self.kept = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise InputError(
                    f"folder {folder} is not empty; a recording gets a folder of its own: name another one"
                )
            self._index = (folder / INDEX).open("xb", buffering=0)
        except OSError as error:
            raise InputError(f"folder {folder} cannot be recorded into: {_why(error)}") from error

    def add(self, frame: Frame) -> Path:
        """Keep a frame. Raises InputError where it cannot be written; what was kept before stays playable."""
        if self._index is None:
            raise InputError(f"the recording in {self._folder} was closed; begin another one")
        path = self._folder / f"{self.kept + 1:08d}.png"
        try:
            write_png(frame.image, path)
            self._append(self._index, IndexLine(file=path.name, captured_at=frame.captured_at, part_id=frame.part_id))
        except (InputError, OSError) as error:
            path.unlink(missing_ok=True)
            why = _why(error) if isinstance(error, OSError) else str(error)
            raise InputError(f"recording ended after {self.kept} frames, which can be played: {why}") from error
        self.kept += 1
        return path

    def close(self) -> None:
        """End the recording; may be called again."""
        index, self._index = self._index, None
        if index is not None:
            index.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _append(index: IO[bytes], line: IndexLine) -> None:
        """Write a line as a whole: half of one would spoil the index."""
        before = index.tell()
        data = line.model_dump_json().encode() + b"\n"
        try:
            if index.write(data) != len(data):
                raise OSError(errno.ENOSPC, "no space left")
        except OSError:
            index.truncate(before)
            index.seek(before)
            raise


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room or name a folder on another one"
    return str(error.strerror or error)
