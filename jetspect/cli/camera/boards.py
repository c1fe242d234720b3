"""Boards for a calibration: in image files, or held before a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from jetspect.cli.camera.source import stopping
from jetspect.cli.output import progress
from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import U8, Frame, Source
from jetspect.runtime.images import SUFFIXES, read_image
from jetspect.runtime.optics.board import Board, Sighting, find_board
from jetspect.runtime.optics.pinhole import is_new
from jetspect.runtime.sources.files import images_in, natural
from jetspect.runtime.sources.recorder import Recorder

_STILL = 0.002  # of the image's diagonal: a board that moves is smeared
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Boards:
    """What was seen; ``plane`` is the index of the board that lies on the part, ``image`` what it was seen in."""

    seen: tuple[Sighting, ...]
    plane: int
    image: U8


def boards_in_files(paths: Sequence[Path], plane: Path | None, board: Board) -> Boards:
    """Find a board in each image. Raises InputError where one shows none."""
    files = _files(paths)
    at = len(files) - 1
    if plane is not None:
        known = [file.resolve() for file in files]
        files = files if plane.resolve() in known else [*files, plane]
        at = [file.resolve() for file in files].index(plane.resolve())
    seen: list[Sighting] = []
    without: list[str] = []
    with progress() as bar:
        task = bar.add_task("looking for the board", total=len(files))
        for number, file in enumerate(files):
            image = read_image(file)
            found = find_board(image, board, file.name)
            if found is None:
                without.append(str(file))
            else:
                seen.append(found)
            if number == at:
                of_plane = image
            bar.advance(task)
    if without:
        more = f" and {len(without) - _NAMED} more" if len(without) > _NAMED else ""
        whole = "; all of it must be in view" if board.kind == "checkerboard" else ""
        raise InputError(
            f"no {board} was found in {', '.join(without[:_NAMED])}{more}{whole}: leave these images out, mind light and "
            f"focus, and count all squares (this board has {board.squares[0] - 1}x{board.squares[1] - 1} inner corners)"
        )
    return Boards(tuple(seen), at, of_plane)


def boards_before_camera(source: Source, board: Board, views: int, keep: Path | None) -> Boards:
    """Take a view each time that the board is held still somewhere else; the first one lies on the part.

    Ends after so many views, at the end of the source, or on Ctrl-C with what there is. Raises SourceError for none.
    """
    seen: list[Sighting] = []
    first: U8 | None = None
    before: Sighting | None = None
    recorder = Recorder(keep) if keep is not None else None
    try:
        with stopping(source), progress() as bar:
            task = bar.add_task("lay the board on the part", total=views)
            for item in source:
                if not isinstance(item, Frame):
                    continue
                found = find_board(item.image, board, item.frame_id)
                if found is not None and before is not None and _still(found, before) and is_new(found, seen):
                    seen.append(found)
                    first = item.image if first is None else first
                    if recorder is not None:
                        recorder.add(item)
                    bar.update(task, advance=1, description="turn it, hold it still")
                    typer.echo(f"view {len(seen)} of {views}: {len(found.corners_px)} corners", err=True)
                before = found
                if len(seen) == views:
                    break
    finally:
        if recorder is not None:
            recorder.close()
    if first is None:
        raise SourceError(f"no {board} was held still before the camera; mind light, focus and the number of squares")
    return Boards(tuple(seen), 0, first)


def _still(found: Sighting, before: Sighting) -> bool:
    return found.size_wh == before.size_wh and not is_new(found, [before], least=_STILL)


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        try:
            inside = sorted(images_in(path, recursive=False), key=natural)
        except OSError as error:
            raise InputError(f"folder {path} cannot be read: {error.strerror or error}") from error
        if not inside:
            raise InputError(f"folder {path} holds no image ({', '.join(sorted(SUFFIXES))})")
        files += inside
    return files
