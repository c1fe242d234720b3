"""Against the real GStreamer and a real RTSP server."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetspect.errors import InputError, MissingDependencyError
from jetspect.runtime.frames import Frame, LostCause, LostFrame, Source
from jetspect.runtime.sources.gst_pipeline import Pipeline, Samples
from jetspect.runtime.sources.gstreamer import GStreamerSettings, GStreamerSource
from jetspect.runtime.triggering.settings import CameraTrigger, MqttTrigger, check_fitting


def source(pipeline: str, **changes: Any) -> GStreamerSource:
    return GStreamerSource(GStreamerSettings(pipeline=pipeline, retry_s=0.05, retry_max_s=0.1, **changes))


def playing(pattern: str, caps: str = "width=101,height=64", buffers: int = 5) -> str:
    return (
        f"videotestsrc pattern={pattern} num-buffers={buffers} ! video/x-raw,{caps} ! videoconvert ! appsink sync=false"
    )


def test_colours_come_as_bgr_and_rows_without_their_padding() -> None:
    frames = list(source(playing("red"), at_end="stop", drop=False))
    assert [f.frame_id for f in frames] == [f"{n:08d}" for n in range(1, 6)]
    for frame in frames:
        assert isinstance(frame, Frame)
        assert frame.image.shape == (64, 101, 3)
        assert (np.abs(frame.image.astype(int) - (0, 0, 255)) <= 2).all()
        assert frame.origin == "videotestsrc pattern=red num-buffers=5"


def test_grey_is_asked_for_by_name_and_is_the_luma_of_the_stream() -> None:
    caps = "format=I420,width=101,height=64"
    (frame,) = source(playing("white", caps, buffers=1), at_end="stop", drop=False, pixel_format="GRAY8")
    assert isinstance(frame, Frame)
    assert frame.image.shape == (64, 101)
    assert (frame.image == 235).all()  # white in video range; it is not stretched


def test_a_lossless_file_comes_back_bit_for_bit(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 67, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    pipeline = f"filesrc location={tmp_path}/a.png ! pngdec ! videoconvert ! appsink"
    (frame,) = source(pipeline, at_end="stop", drop=False)
    assert isinstance(frame, Frame)
    assert (frame.image == image).all()


def test_an_end_begins_the_stream_again_when_it_should(take: Callable[[Source], Any]) -> None:
    looping = source(playing("snow", buffers=2), drop=False)
    taker = take(looping)
    taker.more(6)
    assert looping.counters().reconnects >= 2


def test_a_slow_taker_gets_every_frame_dropped_in_its_place() -> None:
    pipeline = "videotestsrc is-live=true ! video/x-raw,format=BGR,width=64,height=64,framerate=100/1 ! appsink"
    items: list[Frame | LostFrame] = []
    slow = source(pipeline, frames=2)
    for item in slow:
        items.append(item)
        if len(items) == 1:
            time.sleep(0.3)
        if len(items) >= 40:
            slow.stop()
    lost = [i for i in items if isinstance(i, LostFrame)]
    assert len(lost) >= 5
    assert isinstance(items[1], LostFrame)
    assert all("dropped in the appsink" in i.reason for i in lost)
    assert slow.counters().missed == len(lost)
    assert {i.cause for i in lost} == {LostCause.MISSED}
    assert [i.frame_id for i in items] == [f"{n:08d}" for n in range(1, len(items) + 1)]
    times = [i.captured_at for i in items]
    assert times == sorted(times)


def test_a_frame_goes_on_to_age_while_nobody_takes_it() -> None:
    """Otherwise it would be taken for the part that is there when the line goes on."""
    samples = Samples(2, drop=True)
    for age_s in (0.5, 0.3, 0.2, 0.1):
        samples.put("image", age_s)
    time.sleep(0.2)
    taken = samples.get(0)
    assert taken is not None
    assert 0.4 <= taken.age_s < 0.6
    assert (taken.dropped_before, 0.7 <= taken.dropped_age_s < 0.9) == (2, True)


def test_a_live_frame_has_the_time_of_its_capture() -> None:
    """Frames that waited in the pipeline say when they were captured, not when they were taken."""
    pipeline = (
        "videotestsrc is-live=true ! video/x-raw,format=BGR,width=64,height=64,framerate=50/1 "
        "! queue min-threshold-time=400000000 ! appsink sync=false"
    )
    delayed = source(pipeline)
    for item in delayed:
        age = datetime.now(timezone.utc) - item.captured_at
        delayed.stop()
        assert timedelta(seconds=0.3) < age < timedelta(seconds=5)


@pytest.mark.parametrize(("live", "age_s"), [("true", 10.8), ("false", 0.0)])
def test_a_frame_is_as_old_as_it_is_where_the_stream_is_live(live: str, age_s: float) -> None:
    """Dated as of now, one that waited for long would be given to the part that is there now."""
    text = (
        f"appsrc name=in is-live={live} format=time caps=video/x-raw,format=BGR,width=64,height=16,framerate=25/1 "
        "! appsink sync=false"
    )
    pipeline = Pipeline(text, "BGR", frames=2, drop=True)
    gst, whole = pipeline._gst, pipeline._pipeline
    clock = gst.SystemClock.obtain()
    whole.use_clock(clock)
    whole.set_start_time(gst.CLOCK_TIME_NONE)  # a stream that began a minute ago
    whole.set_base_time(clock.get_time() - 60 * gst.SECOND)
    pipeline.start()
    try:
        buffer = gst.Buffer.new_wrapped(bytes(64 * 16 * 3))
        buffer.pts = clock.get_time() - whole.get_base_time() - int(10.8 * gst.SECOND)
        whole.get_by_name("in").push_buffer(buffer)
        taken = pipeline.samples.get(5)
    finally:
        pipeline.close()
    assert taken is not None
    assert age_s <= taken.age_s < age_s + 2


def test_frames_that_may_wait_are_not_given_to_parts() -> None:
    """With one camera that is triggered by wire each frame is a part of its own, whenever it was captured."""
    settings = GStreamerSettings(pipeline="videotestsrc ! appsink", drop=False)
    check_fitting(None, {"": settings})
    check_fitting(CameraTrigger(), {"": settings})
    with pytest.raises(ValueError, match=r"the source does not tell: with drop = false .*; leave drop out"):
        check_fitting(MqttTrigger(), {"": settings})
    check_fitting(MqttTrigger(), {"": GStreamerSettings(pipeline="videotestsrc ! appsink")})


def test_another_size_in_the_stream_is_unusable_and_says_so(tmp_path: Path) -> None:
    for n, side in enumerate((64, 64, 96)):
        cv2.imwrite(str(tmp_path / f"{n}.png"), np.zeros((64, side, 3), np.uint8))
    pipeline = (
        f"multifilesrc location={tmp_path}/%d.png caps=image/png,framerate=25/1 ! pngdec ! videoconvert ! appsink"
    )
    items = list(source(pipeline, at_end="stop", drop=False))
    assert [type(i) for i in items] == [Frame, Frame, LostFrame]
    assert isinstance(items[2], LostFrame)
    assert "it has 96 x 64 px in colour, the first ones had 64 x 64 px in colour" in items[2].reason
    assert items[2].cause is LostCause.UNEXPECTED


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ("videotestsrc ! nosuch ! appsink", 'no element "nosuch"; install the plugin'),
        ("videotestsrc pattern=nope ! appsink", 'could not set property "pattern"'),
        ("videotestsrc ! audioconvert ! appsink", "could not link videotestsrc"),
        ("videotestsrc !! appsink", "syntax error; try it with gst-launch"),
        ("videotestsrc ! fakesink", r"has 0 appsinks; it must end in one"),
        ("videotestsrc", r"has 0 appsinks"),
        ("rtspsrc location=rtsp://me:secret@cam/ user-pw=secret ! nosuch ! appsink", r"rtsp://cam/ user-pw=\.\.\. !"),
    ],
)
def test_a_wrong_pipeline_is_refused_in_gstreamer_s_words(pipeline: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        source(pipeline)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ("v4l2src device=/dev/video97 ! videoconvert ! appsink", "Cannot identify device '/dev/video97'"),
        ("filesrc location=/nowhere.png ! pngdec ! videoconvert ! appsink", "No such file"),
        ("rtspsrc location=rtsp://127.0.0.1:1/x ! decodebin ! videoconvert ! appsink", "rtspsrc: Could not open"),
        ("filesrc name=press1 location=/nowhere.png ! pngdec ! appsink", "press1: Resource not found"),
        (
            "videotestsrc ! video/x-raw,format=BGR ! identity error-after=1 ! appsink",
            "/GstPipeline:pipeline/GstIdentity:identity",
        ),
        ("videotestsrc ! capsfilter caps=video/x-raw,format=I420 ! identity ! appsink", "put videoconvert before it"),
        ("videotestsrc ! video/x-raw,format=BGR ! valve drop=true ! appsink", r"no frame came for 0\.2 s"),
    ],
)
def test_a_stream_that_does_not_start_is_told_and_tried_again(
    take: Callable[[Source], Any], caplog: pytest.LogCaptureFixture, pipeline: str, says: str
) -> None:
    caplog.set_level(logging.INFO)
    taker = take(source(pipeline, timeout_s=0.2))
    taker.wait(lambda: caplog.text.count("trying again in") >= 2, "a second try")
    assert says.replace("\\", "") in caplog.text
    assert not taker.items
    levels = [r.levelname for r in caplog.records if "trying again in" in r.getMessage()]
    assert levels[:2] == ["WARNING", "INFO"]  # the same cause, although every pipeline numbers its elements anew


def test_an_rtsp_stream_outlives_its_server(
    rtsp: Any, take: Callable[[Source], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pipeline = (
        f"rtspsrc location=rtsp://user:secret@127.0.0.1:{rtsp.port}/test protocols=tcp latency=50 "
        "! rtpjpegdepay ! jpegdec ! videoconvert ! appsink sync=false"
    )
    stream = source(pipeline, timeout_s=3)
    taker = take(stream)
    taker.wait(lambda: "trying again" in caplog.text, "a try before the server is there")
    rtsp.start()
    taker.more(5)
    rtsp.kill()
    taker.wait(lambda: not stream.counters().connected, "noticing that the server is gone")
    rtsp.start()
    taker.more(5)
    assert (stream.counters().connected, stream.counters().reconnects) == (True, 1)
    assert {f.size_wh for f in taker.frames} == {(160, 120)}
    assert "secret" not in caplog.text
    assert "secret" not in taker.frames[0].origin


def test_an_rtsp_server_that_comes_back_with_another_size_is_told_and_not_used(
    rtsp: Any, take: Callable[[Source], Any]
) -> None:
    rtsp.start()
    pipeline = (
        f"rtspsrc location=rtsp://127.0.0.1:{rtsp.port}/test protocols=tcp latency=50 "
        "! rtpjpegdepay ! jpegdec ! videoconvert ! appsink sync=false"
    )
    stream = source(pipeline, timeout_s=3)
    taker = take(stream)
    taker.more(2)
    rtsp.kill()
    rtsp.start(320, 240)
    taker.wait(lambda: any(i.cause is LostCause.UNEXPECTED for i in taker.lost), "another size")
    assert (stream.counters().connected, stream.counters().reconnects) == (True, 1)
    assert {f.size_wh for f in taker.frames} == {(160, 120)}
    reasons = {i.reason.split(": ")[1] for i in taker.lost if i.cause is LostCause.UNEXPECTED}
    assert len(reasons) == 1
    assert "it has 320 x 240 px in colour, the first ones had 160 x 120" in reasons.pop()


def test_without_pygobject_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    with pytest.raises(MissingDependencyError, match=r"PyGObject .*apt-get install gir1\.2-gst-plugins-base-1\.0"):
        source("videotestsrc ! appsink")
