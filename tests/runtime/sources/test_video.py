from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetspect.errors import SourceError
from jetspect.runtime.frames import Frame
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


def test_credentials_in_an_address_do_not_reach_results() -> None:
    source = VideoSource(VideoSettings(device="rtsp://user:secret@camera/stream"))
    assert "secret" not in source._name
