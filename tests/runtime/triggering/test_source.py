"""Cameras and triggers together, in their threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import Frame, LostFrame, SourceCounters, utc_now
from jetspect.runtime.sources.stoppable import StoppableSource
from jetspect.runtime.triggering.settings import (
    CameraTrigger,
    EncoderTrigger,
    MqttTrigger,
    TimerTrigger,
)
from jetspect.runtime.triggering.source import TriggeredSource

IMAGE = np.zeros((2, 2), np.uint8)


class Camera(StoppableSource):
    """Delivers a frame when its shutter is released: by software, by wire, or by a clock of its own."""

    def __init__(self, period_s: float = 0.0, raises: Exception | None = None) -> None:
        super().__init__()
        self._period_s, self._raises = period_s, raises
        self._released: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._taken = 0
        self.deaf = False
        self.fault: Exception | None = None
        self.slow_s: list[float] = []

    def fire(self) -> None:
        if self.slow_s:
            time.sleep(self.slow_s.pop(0))
        if self.fault is not None:
            raise self.fault
        if self.deaf:
            raise SourceError("camera does not answer")
        self.release()

    def release(self) -> None:
        self._released.put(True)

    def stop(self) -> None:
        super().stop()
        self._released.put(False)

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        if self._raises is not None:
            raise self._raises
        while not self._stop.is_set():
            if self._period_s:
                self._stop.wait(self._period_s)
            elif not self._released.get():
                return
            self._taken += 1
            yield self.frame(f"{self._taken}")

    def frame(self, frame_id: str) -> Frame | LostFrame:
        return Frame(IMAGE, frame_id)


class Line:
    """Takes what a triggered source delivers."""

    def __init__(self, source: TriggeredSource) -> None:
        self.source = source
        self.items: list[Frame | LostFrame] = []
        self.error: BaseException | None = None
        self.hold = threading.Event()
        self.hold.set()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self.source:
                self.items.append(item)
                self.hold.wait()
        except BaseException as error:
            self.error = error

    def trigger(self, part_id: str | None = None) -> Any:
        deadline = time.monotonic() + 5
        while True:
            try:
                return self.source.trigger(part_id)
            except InputError:
                assert time.monotonic() < deadline
                time.sleep(0.001)

    def wait(self, count: int) -> list[Frame | LostFrame]:
        deadline = time.monotonic() + 10
        while len(self.items) < count:
            assert time.monotonic() < deadline, f"{len(self.items)} of {count} items came"
            time.sleep(0.002)
        return self.items

    def end(self) -> list[Frame | LostFrame]:
        self.hold.set()
        self.source.stop()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()
        self.source.close()
        return self.items


@pytest.fixture
def line() -> Iterator[Callable[..., Line]]:
    lines: list[Line] = []

    def make(views: dict[str, Camera], settings: Any, **more: Any) -> Line:
        lines.append(Line(TriggeredSource(views, settings, **more)))
        return lines[-1]

    yield make
    for each in lines:
        each.end()


def told(items: list[Frame | LostFrame]) -> list[tuple[str, str, str]]:
    return [(str(i.part_id), i.shot.view if i.shot else "", "frame" if isinstance(i, Frame) else "lost") for i in items]


def test_the_station_triggers_every_camera_and_each_frame_knows_its_part(line: Callable[..., Line]) -> None:
    cameras = {"top": Camera(), "side": Camera()}
    running = line(cameras, MqttTrigger(fire="software", deadline_ms=100))
    for number in range(1, 6):
        running.trigger(f"P{number}")
        running.wait(2 * number)
    assert sorted(told(running.items)) == sorted(
        (f"P{n}", view, "frame") for n in range(1, 6) for view in ("top", "side")
    )
    assert {i.shot.expected for i in running.items if i.shot} == {2}
    counted = running.source.counters()
    assert counted.triggers is not None
    assert (counted.triggers.asked, counted.triggers.missed, counted.triggers.unasked) == (5, 0, 0)


def test_a_camera_that_does_not_take_the_trigger_costs_its_frame_only(line: Callable[..., Line]) -> None:
    cameras = {"top": Camera(), "side": Camera()}
    cameras["side"].deaf = True
    running = line(cameras, MqttTrigger(fire="software", deadline_ms=60_000))
    running.trigger("P1")
    running.wait(2)
    assert sorted(told(running.items)) == [("P1", "side", "lost"), ("P1", "top", "frame")]
    (gone,) = [i for i in running.items if isinstance(i, LostFrame)]
    assert "the trigger did not reach the camera: camera does not answer" in gone.reason


def test_a_camera_that_is_slow_to_take_the_trigger_gets_no_part_wrong(line: Callable[..., Line]) -> None:
    camera = Camera()
    camera.slow_s = [0.3]
    running = line({"": camera}, MqttTrigger(fire="software", deadline_ms=20, transfer_ms=10))
    running.trigger("P1")
    time.sleep(0.28)
    running.trigger("P2")  # P1's frame comes within P2's 20 ms
    assert [kind for _, _, kind in told(running.wait(2))] == ["lost", "lost"]
    assert camera._taken == 1


def test_the_thread_that_triggers_outlives_what_it_does_not_know(line: Callable[..., Line]) -> None:
    camera = Camera()
    camera.fault = AttributeError("'NoneType' object has no attribute 'software_trigger'")
    running = line({"": camera}, MqttTrigger(fire="software", deadline_ms=150, transfer_ms=10))
    running.trigger("P1")
    running.wait(1)
    camera.fault = None
    time.sleep(0.16)
    running.trigger("P2")
    assert told(running.wait(2)) == [("P1", "", "lost"), ("P2", "", "frame")]


def test_a_trigger_without_a_frame_is_a_missed_part_within_its_deadline(line: Callable[..., Line]) -> None:
    running = line({"": Camera()}, MqttTrigger(fire="line", deadline_ms=50, transfer_ms=20))
    began = time.monotonic()
    running.trigger("P1")
    running.wait(1)
    assert 0.07 <= time.monotonic() - began < 2
    assert told(running.items) == [("P1", "", "lost")]


def test_a_late_frame_is_not_taken_for_the_next_part(line: Callable[..., Line]) -> None:
    camera = Camera()
    running = line({"": camera}, MqttTrigger(fire="line", deadline_ms=40, transfer_ms=10))
    running.trigger("P1")
    running.wait(1)
    camera.release()  # far too late
    while running.source.counters().triggers.unasked == 0:  # type: ignore[union-attr]
        time.sleep(0.002)
    running.trigger("P2")
    running.wait(2)
    assert told(running.items) == [("P1", "", "lost"), ("P2", "", "lost")]


def test_of_a_camera_that_runs_freely_the_first_frame_after_the_trigger_counts(line: Callable[..., Line]) -> None:
    running = line({"": Camera(period_s=0.01)}, MqttTrigger(deadline_ms=1000))
    asked = [running.trigger(f"P{n}") for n in range(10)]
    running.wait(10)
    assert told(running.items) == [(f"P{n}", "", "frame") for n in range(10)]
    assert all(i.captured_at >= shot.triggered_at for i, shot in zip(running.items, asked, strict=True))
    assert len({i.frame_id for i in running.items}) == 10


def test_pictures_of_several_cameras_on_one_wire_make_a_part(line: Callable[..., Line]) -> None:
    cameras = {"top": Camera(), "side": Camera()}
    running = line(cameras, CameraTrigger(deadline_ms=300, transfer_ms=0))
    cameras["side"].release()
    cameras["top"].release()
    running.wait(2)
    assert len({i.part_id for i in running.items}) == 1
    assert {view for _, view, _ in told(running.items)} == {"top", "side"}
    cameras["top"].release()  # the other one missed it
    running.wait(4)
    assert sorted(kind for _, _, kind in told(running.items[2:])) == ["frame", "lost"]


def test_shots_that_do_not_come_close_the_part(line: Callable[..., Line]) -> None:
    running = line({"": Camera()}, MqttTrigger(fire="software", deadline_ms=200, shots=3, part_timeout_s=0.2))
    running.trigger("P1")
    running.wait(3)
    assert told(running.items) == [("P1", "", "frame"), ("P1", "", "lost"), ("P1", "", "lost")]
    assert "within 0.2 s (trigger.part_timeout_s)" in str(running.items[-1])


def test_triggers_while_nobody_takes_frames_are_not_lost(line: Callable[..., Line]) -> None:
    """The line stands (a full disk): cameras are held back, every trigger still has its item."""
    running = line({"": Camera(period_s=0.002)}, MqttTrigger(deadline_ms=100, transfer_ms=50))
    running.hold.clear()
    for number in range(100):
        running.trigger(f"P{number}")
        time.sleep(0.002)
    running.hold.set()
    running.wait(100)
    assert sorted(part for part, _, _ in told(running.items)) == sorted(f"P{n}" for n in range(100))
    assert "frame" in {kind for _, _, kind in told(running.items)}


def test_a_frame_that_waited_for_minutes_is_not_taken_for_a_part_of_now(line: Callable[..., Line]) -> None:
    class Stale(Camera):
        def frame(self, frame_id: str) -> Frame:
            return Frame(IMAGE, frame_id, utc_now() - timedelta(minutes=10))

    camera = Stale()
    running = line({"": camera}, MqttTrigger(fire="line", early_ms=10_000, deadline_ms=20, transfer_ms=0))
    source = running.source
    camera.release()
    while source.counters().triggers.unasked == 0:  # type: ignore[union-attr]
        source._desk._pairings[""].expire(time.monotonic() + 100)
        time.sleep(0.002)
    desk = source._desk
    _shot, _ = desk.trigger("P1", utc_now(), time.monotonic() - 60.0)
    camera.release()
    assert told(running.wait(1)) == [("P1", "", "lost")]


def test_lost_frames_wait_too_while_nobody_takes_them(
    line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetspect.runtime.triggering.source._MOST_READY", 20)

    class Broken(Camera):
        def frame(self, frame_id: str) -> LostFrame:
            return LostFrame(frame_id, "packets were lost")

    camera = Broken()
    running = line({"": camera}, CameraTrigger())
    running.hold.clear()
    for _ in range(100):
        camera.release()
    time.sleep(0.1)
    assert camera._taken <= 30
    running.hold.set()
    running.wait(100)


def test_nothing_is_given_up_in_the_moment_when_frames_are_taken_again(line: Callable[..., Line]) -> None:
    """All that stood ready is taken before the camera's thread wakes."""
    camera = Camera()
    running = line({"": camera}, MqttTrigger(fire="next_frame", deadline_ms=50, transfer_ms=0))
    running.hold.clear()
    for number in range(1, 4):
        running.trigger(f"P{number}")
        camera.release()
        time.sleep(0.02)
    running.trigger("P4")
    camera.release()
    time.sleep(0.1)
    desk = running.source._desk
    with running.source._changed:
        desk.expire(time.monotonic())
        assert not [i for i in desk.ready if isinstance(i, LostFrame)]
    running.hold.set()
    running.wait(4)


def test_what_waits_when_the_station_stops_is_told(line: Callable[..., Line]) -> None:
    running = line({"top": Camera(), "side": Camera()}, MqttTrigger(fire="line", deadline_ms=60_000, shots=2))
    running.trigger("P1")
    items = running.end()
    assert sorted(told(items)) == [("P1", "side", "lost")] * 2 + [("P1", "top", "lost")] * 2
    assert {"the station stopped" in i.reason for i in items if isinstance(i, LostFrame)} == {True}
    with pytest.raises(InputError, match="the station starts or stops"):
        running.source.trigger("P2")


def test_a_camera_that_fails_for_good_ends_the_line_with_its_error(line: Callable[..., Line]) -> None:
    running = line({"top": Camera(), "side": Camera(raises=SourceError("gone for good"))}, MqttTrigger(fire="line"))
    running._thread.join(timeout=5)
    assert str(running.error) == "gone for good"


def test_parts_named_by_the_station_differ_from_start_to_start(
    line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the clock stands at the same time again: a machine without a battery, or two starts in a second."""
    now = utc_now()
    monkeypatch.setattr("jetspect.runtime.triggering.source.utc_now", lambda: now)
    names = [line({"": Camera()}, MqttTrigger(fire="line")).trigger().part_id for _ in range(2)]
    assert names[0] != names[1]


def test_before_the_start_no_trigger_is_taken() -> None:
    source = TriggeredSource({"": Camera()}, MqttTrigger())
    with pytest.raises(InputError, match="send it again when it is online"):
        source.trigger("P1")


def test_a_timer_and_an_encoder_trigger_too(line: Callable[..., Line], tmp_path: Path) -> None:
    running = line({"": Camera()}, TimerTrigger(fire="software", period_s=0.05, deadline_ms=200))
    running.wait(3)
    assert {kind for _, _, kind in told(running.items)} == {"frame"}
    count = tmp_path / "count"
    count.write_text("0")
    other = line({"": Camera()}, EncoderTrigger(fire="software", count_file=count, counts_per_mm=1, pitch_mm=10))
    time.sleep(0.05)
    count.write_text("10")
    other.wait(1)
    assert told(other.items)[0][1:] == ("", "frame")


def test_a_pitch_that_went_by_gets_no_picture_of_now(line: Callable[..., Line]) -> None:
    for fire, camera in (("software", Camera()), ("next_frame", Camera(period_s=0.005))):
        running = line({"": camera}, MqttTrigger(fire=fire, deadline_ms=100, transfer_ms=0))
        running.trigger("P0")
        running.wait(1)
        running.source.trigger("long ago", 0.5)
        running.source.trigger("now")
        assert sorted(told(running.wait(3))) == [("P0", "", "frame"), ("long ago", "", "lost"), ("now", "", "frame")], (
            fire
        )


def test_triggers_that_are_not_taken_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    source = TriggeredSource({"": Camera()}, TimerTrigger(period_s=0.001))
    for _ in range(10):
        source._tick()
    assert len(caplog.records) == 1


def test_what_a_killed_station_owes_comes_first(line: Callable[..., Line]) -> None:
    owed = LostFrame("x", "restarted", part_id="old")
    running = line({"": Camera()}, MqttTrigger(fire="software", deadline_ms=50), left_over=[owed])
    running.trigger("new")
    assert [i.part_id for i in running.wait(2)] == ["old", "new"]


def test_counters_are_those_of_all_cameras() -> None:
    class Away(Camera):
        def counters(self) -> SourceCounters:
            return SourceCounters(connected=False, reconnects=2, missed=1, fault="unplugged")

    counted = TriggeredSource({"a": Away(), "b": Away(), "c": Camera()}, MqttTrigger()).counters()
    assert (counted.connected, counted.reconnects, counted.missed) == (False, 4, 2)
    assert counted.fault == "unplugged; unplugged"
