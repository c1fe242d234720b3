from __future__ import annotations

from pathlib import Path

from jetspect.runtime.sources.v4l2 import VideoDevice, find_video_devices


def test_devices_come_by_number_with_the_names_that_the_kernel_gives(tmp_path: Path) -> None:
    """A folder laid out as /sys/class/video4linux is, with a USB camera of two nodes."""
    for number, name, index in (
        (10, "vi-output, imx477", "0"),
        (2, "HD Camera: HD Camera", "1"),
        (0, "HD Camera: HD Camera", "0"),
    ):
        node = tmp_path / f"video{number}"
        node.mkdir()
        (node / "name").write_text(name + "\n")
        (node / "index").write_text(index + "\n")
    (tmp_path / "video11").mkdir()  # going away just now
    (tmp_path / "v4l-subdev0").mkdir()
    assert find_video_devices(tmp_path) == [
        VideoDevice("/dev/video0", "HD Camera: HD Camera", 0),
        VideoDevice("/dev/video2", "HD Camera: HD Camera", 1),
        VideoDevice("/dev/video10", "vi-output, imx477", 0),
        VideoDevice("/dev/video11", "unnamed", 0),
    ]


def test_a_kernel_without_video_has_none(tmp_path: Path) -> None:
    assert find_video_devices(tmp_path / "none") == []
