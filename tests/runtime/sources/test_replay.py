from __future__ import annotations

import json
import os
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import Frame, LostFrame
from jetspect.runtime.sources.replay import ReplaySettings, ReplaySource

START = datetime(2026, 5, 4, 6, 30, tzinfo=timezone.utc)


def record(folder: Path, offsets_s: list[float], *, index: bool = True) -> None:
    """Images 0.png, 1.png ... captured at these offsets."""
    lines = []
    for n, offset in enumerate(offsets_s):
        at = START + timedelta(seconds=offset)
        cv2.imwrite(str(folder / f"{n}.png"), np.full((32, 40), n, np.uint8))
        os.utime(folder / f"{n}.png", (at.timestamp(), at.timestamp()))
        lines.append(json.dumps({"file": f"{n}.png", "captured_at": at.isoformat(), "part_id": f"P{n}"}))
    if index:
        (folder / "frames.jsonl").write_text("\n".join(lines) + "\n")


def replay(folder: Path, **changes: Any) -> ReplaySource:
    return ReplaySource(ReplaySettings(path=folder, **changes))


@pytest.mark.parametrize("times", ["index", "modified"])
def test_images_come_with_their_recorded_times_in_the_order_of_those(tmp_path: Path, times: str) -> None:
    record(tmp_path, [2.0, 0.0, 1.0], index=times == "index")
    frames = list(replay(tmp_path, times=times, speed=1000))
    assert [f.frame_id for f in frames] == ["1.png", "2.png", "0.png"]
    assert [f.captured_at for f in frames] == [START + timedelta(seconds=n) for n in range(3)]
    assert [f.part_id for f in frames] == (["P1", "P2", "P0"] if times == "index" else [None] * 3)
    assert [int(f.image[0, 0]) for f in frames if isinstance(f, Frame)] == [1, 2, 0]


def test_pauses_are_those_of_the_recording_divided_by_the_speed(tmp_path: Path) -> None:
    record(tmp_path, [0, 1, 1, 4])
    begun = time.monotonic()
    times = [time.monotonic() - begun for _ in replay(tmp_path, speed=10)]
    for came, due in zip(times, (0, 0.1, 0.1, 0.4), strict=True):
        assert due - 0.01 <= came < due + 2


def test_a_slow_taker_does_not_move_the_rest(tmp_path: Path) -> None:
    record(tmp_path, [0, 0.1, 0.2, 1.0])
    begun = time.monotonic()
    times = []
    for _ in replay(tmp_path):
        times.append(time.monotonic() - begun)
        if len(times) == 1:
            time.sleep(0.9)
    assert times[1] >= 0.89
    assert 0.99 <= times[3] < 1.8


def test_long_pauses_can_be_cut(tmp_path: Path) -> None:
    record(tmp_path, [0, 3600, 7200])
    begun = time.monotonic()
    assert len(list(replay(tmp_path, longest_pause_s=0.05))) == 3
    assert time.monotonic() - begun < 5


def test_it_loops_until_stopped_and_stops_within_a_pause(tmp_path: Path) -> None:
    record(tmp_path, [0, 0.01])
    source = replay(tmp_path, loop=True)
    ids = []
    for frame in source:
        ids.append(frame.frame_id)
        if len(ids) == 5:
            source.stop()
    assert ids == ["0.png", "1.png", "0.png", "1.png", "0.png"]
    record(tmp_path, [0, 3600])
    waiting = replay(tmp_path)
    thread = threading.Thread(target=lambda: list(waiting))
    thread.start()
    waiting.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_an_image_that_is_gone_or_cut_is_lost_at_its_time(tmp_path: Path) -> None:
    record(tmp_path, [0, 1, 2])
    (tmp_path / "1.png").unlink()
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:40])
    frames = list(replay(tmp_path, speed=1000))
    assert [type(f) for f in frames] == [Frame, LostFrame, LostFrame]
    assert "cannot be read" in str(frames[1])
    assert "truncated PNG" in str(frames[2])
    assert frames[1].captured_at == START + timedelta(seconds=1)


def test_faults_of_the_index_are_listed_by_line(tmp_path: Path) -> None:
    record(tmp_path, [0])
    with (tmp_path / "frames.jsonl").open("a") as stream:
        stream.write('no json\n\n{"file": "a.png"}\n{"file": "../a.png", "captured_at": "2026-05-04T06:30:00Z"}\n[]\n')
    with pytest.raises(InputError) as caught:
        replay(tmp_path)
    for part in (
        "frames.jsonl: line 2: is not JSON",
        "line 4: captured_at: Field required",
        "line 5: file: must be a path inside",
        "line 6: it: ",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("make", "times", "says"),
    [
        ("none", "index", "does not exist; name the folder"),
        ("file", "index", "is a file, not a folder"),
        ("empty", "index", 'does not exist; to play the images by the times of their files, set times = "modified"'),
        ("empty", "modified", "holds no image"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, make: str, times: str, says: str) -> None:
    path = tmp_path / "x"
    if make == "file":
        path.touch()
    elif make == "empty":
        path.mkdir()
    with pytest.raises(SourceError, match=says):
        replay(path, times=times)
