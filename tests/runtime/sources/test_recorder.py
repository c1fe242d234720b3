from __future__ import annotations

import resource
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from jetspect.errors import InputError
from jetspect.runtime.frames import Frame
from jetspect.runtime.sources.recorder import Recorder, write_png
from jetspect.runtime.sources.replay import ReplaySettings, ReplaySource

START = datetime(2026, 5, 4, 6, 30, 0, 123457, tzinfo=timezone.utc)
RNG = np.random.default_rng(0)


def frame(n: int, *, colour: bool = False, side: int = 48) -> Frame:
    image = RNG.integers(0, 256, (side, side + 8, 3) if colour else (side, side + 8)).astype(np.uint8)
    return Frame(image, f"camera/{n}", START + timedelta(milliseconds=40 * n), None if n == 2 else f"P{n}")


def play(folder: Path) -> list[Frame]:
    frames = list(ReplaySource(ReplaySettings(path=folder, speed=1000)))
    assert all(isinstance(f, Frame) for f in frames)
    return [f for f in frames if isinstance(f, Frame)]


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow above 16 kB: a real refusal of the kernel in the middle of a write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_is_recorded_plays_back_pixel_by_pixel_with_times_and_parts(tmp_path: Path) -> None:
    frames = [frame(n, colour=n % 2 == 1) for n in range(4)]
    with Recorder(tmp_path / "new" / "shift") as recorder:
        for item in frames:
            recorder.add(item)
        assert recorder.kept == 4
    played = play(tmp_path / "new" / "shift")
    assert [f.captured_at for f in played] == [f.captured_at for f in frames]
    assert [f.part_id for f in played] == ["P0", "P1", None, "P3"]
    assert all(np.array_equal(a.image, b.image) for a, b in zip(played, frames, strict=True))


def test_it_can_be_played_while_it_goes_on(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.add(frame(0))
        assert len(play(tmp_path)) == 1
        recorder.add(frame(1))
        assert len(play(tmp_path)) == 2


def test_a_write_that_fails_ends_the_recording_and_leaves_the_rest_playable(tmp_path: Path, small_files: None) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.add(frame(0))
        recorder.add(frame(1))
        with pytest.raises(
            InputError, match=r"ended after 2 frames, which can be played: .*cannot be written: File too"
        ):
            recorder.add(frame(2, side=400))
    assert len(play(tmp_path)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000001.png", "00000002.png", "frames.jsonl"]


def test_half_a_line_of_the_index_is_taken_back(tmp_path: Path, small_files: None) -> None:
    """The index itself reaches the limit in the middle of a line."""
    tiny = [Frame(np.zeros((16, 16), np.uint8), "f", START + timedelta(seconds=n), "P" * 3000) for n in range(8)]
    with Recorder(tmp_path) as recorder, pytest.raises(InputError, match=r"ended after 5 frames, .* played: "):
        for item in tiny:
            recorder.add(item)
    assert len(play(tmp_path)) == 5
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keep").touch()
    with pytest.raises(InputError, match="is not empty; a recording gets a folder of its own"):
        Recorder(tmp_path)
    with pytest.raises(InputError, match="cannot be recorded into: "):
        Recorder(tmp_path / "keep")
    assert [p.name for p in tmp_path.iterdir()] == ["keep"]


def test_a_closed_recording_takes_no_more(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.close()
    recorder.close()
    with pytest.raises(InputError, match="was closed"):
        recorder.add(frame(0))


def test_an_image_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, small_files: None) -> None:
    with pytest.raises(InputError, match="cannot be written: File too large"):
        write_png(frame(0, side=400).image, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
