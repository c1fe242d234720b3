from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.benchmarks.plant import wait_until
from jetspect.errors import SourceError
from jetspect.runtime.frames import Frame, LostCause, Source
from jetspect.runtime.sources.video import VideoSettings, VideoSource


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for level in range(10):
        writer.write(np.full((48, 64, 3), 20 * level, np.uint8))
    writer.release()
    return path


def test_a_video_file_is_played_to_its_end(clip: Path) -> None:
    with VideoSource(VideoSettings(device=str(clip))) as source:
        frames = list(source)
    assert [f.frame_id for f in frames] == [f"{n:08d}" for n in range(1, 11)]
    assert all(isinstance(f, Frame) and f.size_wh == (64, 48) for f in frames)
    means = [float(f.image.mean()) for f in frames if isinstance(f, Frame)]
    assert means == sorted(means)


def test_every_third_frame(clip: Path) -> None:
    with VideoSource(VideoSettings(device=str(clip), every=3)) as source:
        assert [f.frame_id for f in source] == ["00000001", "00000004", "00000007", "00000010"]


def test_a_missing_or_wrong_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        VideoSource(VideoSettings(device=str(tmp_path / "no.mp4")))
    with pytest.raises(SourceError, match=r"^video cam/main does not exist; .* or rtsp://"):
        VideoSource(VideoSettings(device="user:secret@cam/main"))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match="cannot be opened"):
        VideoSource(VideoSettings(device=str(tmp_path / "text.mp4")))


def test_a_camera_that_is_not_there_is_tried_again_until_stopped() -> None:
    source = VideoSource(VideoSettings(device="/dev/video63", retry_s=0.05, retry_max_s=0.1))
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    thread.join(timeout=0.4)
    assert thread.is_alive()
    source.stop()
    thread.join(timeout=5)
    assert not thread.is_alive()


def test_credentials_in_an_address_reach_neither_logs_nor_health(caplog: pytest.LogCaptureFixture) -> None:
    address = "rtsp://user:secret@127.0.0.1:1/stream?user=user&password=secret&token=secret"
    source = VideoSource(VideoSettings(device=address, retry_s=0.05, retry_max_s=0.1))
    thread = threading.Thread(target=lambda: list(source))
    thread.start()
    try:
        wait_until(lambda: "trying again" in caplog.text, 10, "no try was made")
    finally:
        source.stop()
        thread.join(timeout=10)
    assert source.counters().fault == "rtsp://127.0.0.1:1/stream cannot be opened"
    assert "secret" not in caplog.text


def test_ffmpeg_writes_nothing_past_the_log(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With --log-format json each line of stderr is an object."""
    for device in ("rtsp://user:secret@127.0.0.1:1/x", "http://user:secret@127.0.0.1:1/x"):
        assert VideoSource(VideoSettings(device=device))._open() is None
    (tmp_path / "cut.avi").write_bytes(b"RIFF\0\0\0\0AVI LIST" + bytes(100))
    with pytest.raises(SourceError, match="cannot be opened"):
        VideoSource(VideoSettings(device=str(tmp_path / "cut.avi")))
    assert capfd.readouterr() == ("", "")


def test_a_live_stream_outlives_its_server_and_frames_of_another_size_are_not_used(
    rtsp: Any, take: Callable[[Source], Any]
) -> None:
    source = VideoSource(VideoSettings(device=f"rtsp://127.0.0.1:{rtsp.port}/test", retry_s=0.05, retry_max_s=0.1))
    taker = take(source)
    taker.wait(lambda: source.counters().fault, "a try before the server is there")
    rtsp.start()
    taker.more(3)
    rtsp.kill()
    taker.wait(lambda: not source.counters().connected, "noticing that the server is gone")
    assert not taker.lost
    rtsp.start(320, 240)
    taker.wait(lambda: len(taker.lost) >= 2, "frames of another size")
    assert (source.counters().connected, source.counters().reconnects) == (True, 1)
    assert {f.size_wh for f in taker.frames} == {(160, 120)}
    assert all("it has 320 x 240 px in colour, the first ones had 160 x 120" in i.reason for i in taker.lost)
    assert {i.cause for i in taker.lost} == {LostCause.UNEXPECTED}
    ids = [item.frame_id for item in taker.items]
    assert ids == [f"{n:08d}" for n in range(1, len(ids) + 1)]
