from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import SourceError
from jetspect.runtime.frames import Frame, LostFrame, Source
from jetspect.runtime.sources.folder import FolderSettings, FolderSource


def picture(value: int = 0) -> bytes:
    image = np.full((32, 40), value, np.uint8)
    return bytes(cv2.imencode(".png", image)[1])


def test_images_come_in_natural_order_and_other_files_do_not(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.png", "a.PNG", "notes.txt", ".hidden.png", "c.png.part"):
        (tmp_path / name).write_bytes(picture())
    with FolderSource(FolderSettings(path=tmp_path)) as source:
        assert [f.frame_id for f in source] == ["a.PNG", "b2.png", "b10.png"]


def test_sub_folders_are_read_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.png").write_bytes(picture())
    (tmp_path / "y.png").write_bytes(picture())
    with FolderSource(FolderSettings(path=tmp_path, recursive=True)) as source:
        assert [f.frame_id for f in source] == ["sub/x.png", "y.png"]


def test_an_unreadable_image_is_a_lost_frame_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture())
    (tmp_path / "2.jpg").write_bytes(b"")
    (tmp_path / "3.png").write_bytes(picture())
    with FolderSource(FolderSettings(path=tmp_path)) as source:
        frames = list(source)
    assert [type(f) for f in frames] == [Frame, LostFrame, Frame]
    assert isinstance(frames[1], LostFrame)
    assert "is empty" in frames[1].reason


def test_a_folder_in_place_of_an_image_is_a_lost_frame(tmp_path: Path) -> None:
    (tmp_path / "odd.png").mkdir()
    with FolderSource(FolderSettings(path=tmp_path)) as source:
        (frame,) = source
    assert isinstance(frame, LostFrame)
    assert "is a folder" in frame.reason


@pytest.mark.parametrize(("make", "says"), [("none", "does not exist"), ("file", "is a file"), ("empty", "no image")])
def test_a_folder_that_cannot_be_a_source_is_refused(tmp_path: Path, make: str, says: str) -> None:
    path = tmp_path / "x"
    if make == "file":
        path.touch()
    elif make == "empty":
        path.mkdir()
    with pytest.raises(SourceError, match=says):
        FolderSource(FolderSettings(path=path))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Path, FolderSource, list[str], threading.Event]]:
    source = FolderSource(FolderSettings(path=tmp_path, watch=True, poll_s=0.02))
    seen: list[str] = []
    came = threading.Event()

    def collect() -> None:
        for frame in source:
            seen.append(frame.frame_id if isinstance(frame, Frame) else f"lost {frame.frame_id}")
            came.set()

    thread = threading.Thread(target=collect)
    thread.start()
    yield tmp_path, source, seen, came
    source.stop()
    thread.join(timeout=3)
    assert not thread.is_alive()


def test_a_watched_folder_waits_until_a_file_is_whole(
    watched: tuple[Path, FolderSource, list[str], threading.Event],
) -> None:
    folder, _, seen, came = watched
    data = picture()
    with (folder / "slow.png").open("wb") as stream:
        for byte in range(0, len(data), 8):  # grows at every look
            stream.write(data[byte : byte + 8])
            stream.flush()
            came.wait(0.015)
            assert not seen
    assert came.wait(3)
    assert seen == ["slow.png"]


def test_a_watched_folder_takes_a_renamed_file_and_a_rewritten_one_again(
    watched: tuple[Path, FolderSource, list[str], threading.Event],
) -> None:
    folder, _, seen, came = watched
    (folder / "x.png.tmp").write_bytes(picture())
    assert not came.wait(0.2)
    (folder / "x.png.tmp").rename(folder / "x.png")
    assert came.wait(3)
    came.clear()
    assert not came.wait(0.2)
    (folder / "x.png").write_bytes(picture(200) + b"\0\0")
    assert came.wait(3)
    assert seen == ["x.png", "x.png"]


def test_a_writer_that_pauses_does_not_cost_the_part(
    watched: tuple[Path, FolderSource, list[str], threading.Event],
) -> None:
    folder, _, seen, came = watched
    data = picture()
    with (folder / "slow.png").open("wb") as stream:
        stream.write(data[:50])
        stream.flush()
        assert not came.wait(0.4)  # twenty looks at a file that does not change
        stream.write(data[50:])
    assert came.wait(3)
    assert seen == ["slow.png"]


def test_a_watched_file_that_stays_unreadable_is_lost_once(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(picture()[:50])
    source = FolderSource(FolderSettings(path=tmp_path, watch=True, poll_s=0.02, patience_s=0.1))
    items = iter(source)
    lost = next(items)
    assert isinstance(lost, LostFrame)
    assert "truncated PNG" in lost.reason
    (tmp_path / "next.png").write_bytes(picture())
    assert next(items).frame_id == "next.png"
    source.close()


@pytest.mark.parametrize("recursive", [False, True])
def test_what_was_taken_does_not_come_again_after_the_folder_was_away(
    tmp_path: Path, take: Callable[[Source], Any], caplog: pytest.LogCaptureFixture, recursive: bool
) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    (folder / "1.png").write_bytes(picture())
    source = FolderSource(FolderSettings(path=folder, watch=True, poll_s=0.01, recursive=recursive))
    taker = take(source)
    taker.more(1)
    folder.rename(away)
    taker.wait(lambda: not source.counters().connected, "noticing that the folder is gone")
    assert "cannot be read: No such file or directory" in source.counters().fault
    folder.mkdir()  # as a share that is not mounted: its empty place is there
    taker.wait(lambda: source.counters().connected, "an empty folder")
    folder.rmdir()
    taker.wait(lambda: not source.counters().connected, "noticing that it is gone again")
    away.rename(folder)
    (folder / "2.png").write_bytes(picture())
    taker.more(1)
    assert [item.frame_id for item in taker.items] == ["1.png", "2.png"]
    assert (source.counters().reconnects, source.counters().fault) == (2, "")
    said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert [("can be read again" in m, "looking again every 0.01 s" in m) for m in said] == [
        (False, True),
        (True, False),
    ] * 2


def test_what_was_taken_does_not_come_again_after_others_wrote_to_the_empty_place_of_a_share(
    tmp_path: Path, take: Callable[[Source], Any]
) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    (folder / "1.png").write_bytes(picture())
    source = FolderSource(FolderSettings(path=folder, watch=True, poll_s=0.01))
    taker = take(source)
    taker.more(1)
    for count, name in enumerate(("2.png", "3.png"), 1):
        folder.rename(away)
        taker.wait(lambda: not source.counters().connected, "noticing that the folder is gone")
        folder.mkdir()
        (folder / name).write_bytes(picture())
        taker.wait(lambda n=name: taker.items[-1].frame_id == n, "the image in its place")
        folder.rename(tmp_path / f"below{count}")
        taker.wait(lambda: not source.counters().connected, "noticing that it is gone again")
        away.rename(folder)
        taker.wait(lambda: source.counters().connected, "the folder is there")
    (folder / "4.png").write_bytes(picture())
    taker.more(1)
    assert [item.frame_id for item in taker.items] == ["1.png", "2.png", "3.png", "4.png"]


def test_a_folder_that_is_away_is_told_once_however_often_it_is_looked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = FolderSource(FolderSettings(path=folder, watch=True))
    folder.rmdir()
    assert [source._look() for _ in range(3)] == [None] * 3
    folder.write_text("in its place")
    assert [source._look() for _ in range(3)] == [None] * 3
    said = [r.getMessage() for r in caplog.records]
    assert [m.split("; ")[0].split(": ")[1] for m in said] == ["No such file or directory", "Not a directory"]


def test_an_image_that_cannot_be_looked_at_for_a_moment_does_not_come_again(
    tmp_path: Path, take: Callable[[Source], Any], caplog: pytest.LogCaptureFixture
) -> None:
    image, aside = tmp_path / "1.png", tmp_path / "aside"
    image.write_bytes(picture())
    taker = take(FolderSource(FolderSettings(path=tmp_path, watch=True, poll_s=0.01)))
    taker.more(1)
    (tmp_path / "loop").symlink_to(image)
    os.link(image, aside)
    (tmp_path / "loop").rename(image)  # now a link to itself
    taker.wait(lambda: "1.png cannot be looked at: Too many levels of symbolic links" in caplog.text, "noticing it")
    aside.rename(image)
    (tmp_path / "2.png").write_bytes(picture())
    taker.more(1)
    assert [item.frame_id for item in taker.items] == ["1.png", "2.png"]
    assert caplog.text.count("cannot be looked at") == 1


def test_an_image_that_cannot_be_looked_at_is_lost_where_nobody_watches(tmp_path: Path) -> None:
    (tmp_path / "1.png").symlink_to(tmp_path / "1.png")
    (item,) = FolderSource(FolderSettings(path=tmp_path))
    assert isinstance(item, LostFrame)
    assert "Too many levels" in item.reason


def test_what_was_there_at_the_start_is_left_alone_when_asked_for(
    tmp_path: Path, take: Callable[[Source], Any]
) -> None:
    """Also where the folder cannot be listed just then."""
    folder, away = tmp_path / "in", tmp_path / "away"
    folder.mkdir()
    (folder / "1.png").write_bytes(picture())
    source = FolderSource(FolderSettings(path=folder, watch=True, skip_existing=True, poll_s=0.01))
    folder.rename(away)
    taker = take(source)
    taker.wait(lambda: not source.counters().connected, "noticing that the folder is gone")
    away.rename(folder)
    taker.wait(lambda: source.counters().connected, "the folder is there")
    (folder / "2.png").write_bytes(picture())
    taker.more(1)
    assert [item.frame_id for item in taker.items] == ["2.png"]
