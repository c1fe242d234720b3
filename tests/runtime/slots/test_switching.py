"""A station takes a new bundle between two frames, and goes back by itself."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from delivery import wait_for

from jetspect.errors import BundleError, DeployError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.frames import Frame
from jetspect.runtime.judging import open_judge
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.subscriber import MqttSubscriber
from jetspect.runtime.slots.deploy import deploy, roll_back
from jetspect.runtime.slots.folder import SlotFolder
from jetspect.runtime.slots.probation import Supervisor
from jetspect.runtime.slots.settings import SlotSettings
from jetspect.runtime.slots.state import read_state, write_state
from jetspect.runtime.slots.switching import SlotInspectors

Config = Callable[..., StationConfig]
Version = Callable[..., Path]
Put = Callable[[Path], str]


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetspect.runtime.slots.switching._LOOK_S", 0.02)


@pytest.fixture
def opened(config: Config, folder: SlotFolder) -> Iterator[Callable[..., SlotInspectors]]:
    """Open what judges the frames of a station with slots; closed after the test."""
    made: list[SlotInspectors] = []

    def start(**settings: Any) -> SlotInspectors:
        made.append(
            SlotInspectors(folder, SlotSettings(**settings), lambda slot: open_judge(config(), folder.place(slot)))
        )
        return made[-1]

    yield start
    for each in made:
        each.close()


def frame(level: int = 150) -> Frame:
    image = np.full((64, 128), level, np.uint8)
    image[::8] //= 2
    image[1::8] //= 2  # an image of one level fails the input checks
    return Frame(image, frame_id="f")


def judged(tmp_path: Path) -> list[dict[str, Any]]:
    with Outbox(tmp_path / "outbox.sqlite") as outbox:
        return [json.loads(row.payload) for row in outbox.pending(limit=5000)]


def test_a_running_station_takes_the_new_bundle_and_drops_no_frame(
    tmp_path: Path, config: Config, version: Version, put: Put, mosquitto: Callable[..., Any]
) -> None:
    put(version("1"))
    broker = BrokerSettings(host="127.0.0.1", port=mosquitto().port)
    seen: list[str] = []
    changed = threading.Event()

    def listen(item: Any, inspection: Any, message: Any) -> None:
        seen.append(message.model.version)
        if seen[-1] == "2":
            changed.set()

    settings = config(broker={"host": broker.host, "port": broker.port}, slots={"probation_minutes": 9})
    with build_station(settings, on_result=listen) as station, MqttSubscriber(broker, "#") as subscriber:
        runner = threading.Thread(target=station.run)
        runner.start()
        wait_for(lambda: len(seen) > 5)
        put(version("2"))
        assert changed.wait(10)
        health = station.health()
        station.stop()
        runner.join()
        messages = []
        for topic, data in subscriber.messages(quiet_s=10):
            messages.append((topic.rsplit("/", 1)[1], json.loads(data)))
            if messages[-1][1].get("state") == "offline":
                break
    switch = seen.index("2")
    assert set(seen[:switch]) == {"1"}
    assert set(seen[switch:]) == {"2"}
    assert station.counters.frames == len(seen)
    results = [message for leaf, message in messages if leaf == "result"]
    assert [r["seq"] for r in results] == list(range(1, len(seen) + 1))
    assert all(r["verdict"] != "UNKNOWN" for r in results)
    metas = [message for leaf, message in messages if leaf == "meta"]
    assert [(m["model"]["version"], m["slots"]["live"]) for m in (metas[0], metas[-1])] == [("1", "a"), ("2", "b")]
    assert health.build is not None
    assert health.build.model.version == "2"
    assert health.slots is not None
    assert health.slots.on_probation


def test_a_rollback_of_its_own_is_published_with_its_reason(
    config: Config, version: Version, put: Put, mosquitto: Callable[..., Any]
) -> None:
    put(version("1"))
    broker = BrokerSettings(host="127.0.0.1", port=mosquitto().port)
    seen: list[str] = []

    def listen(item: Any, inspection: Any, message: Any) -> None:
        seen.append(message.model.version)

    settings = config(broker={"host": broker.host, "port": broker.port})
    with build_station(settings, on_result=listen) as station, MqttSubscriber(broker, "#") as subscriber:
        runner = threading.Thread(target=station.run)
        runner.start()
        wait_for(lambda: len(seen) > 32)
        put(version("2", threshold=0.0))
        wait_for(lambda: "2" in seen and seen[-1] == "1")
        station.stop()
        runner.join()
        messages: dict[str, list[Any]] = {"meta": [], "health": []}
        for topic, data in subscriber.messages(quiet_s=10):
            message = json.loads(data)
            messages.setdefault(topic.rsplit("/", 1)[1], []).append(message)
            if message.get("state") == "offline":
                break
    metas, health = messages["meta"], messages["health"][-1]
    told = [(m["model"]["version"], m["slots"]["live"], m["slots"]["event"]) for m in metas]
    assert told[-2:] == [("2", "b", "deployed"), ("1", "a", "rolled_back")]
    assert metas[-1]["slots"]["reason"].startswith("NOK rate: ")
    (alarm,) = [alarm for alarm in health["alarms"] if alarm.startswith("slot_")]
    assert alarm == f"slot_rolled_back: {metas[-1]['slots']['reason']}"
    assert health["slots"]["event"] == "rolled_back"


def test_a_clock_of_1970_that_is_set_in_mid_probation_changes_nothing(
    folder: SlotFolder,
    version: Version,
    put: Put,
    opened: Callable[..., SlotInspectors],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Early(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime(1970, 1, 1, 0, 0, 7, tzinfo=tz)  # a board without a battery starts here each time

    with monkeypatch.context() as early:
        early.setattr("jetspect.runtime.frames.datetime", Early)
        put(version("1"))
        put(version("2"))
        first = opened(probation_minutes=1, min_frames=1)
        first.inspect(frame())
    assert first.info().at == Early.now(timezone.utc)
    wait_for(lambda: first.info().frames == 1)
    first.close()
    again = opened(probation_minutes=1, min_frames=1)
    again.inspect(frame())
    assert (again.model.version, again.info().on_probation, again.info().frames) == ("2", True, 2)
    again.close()
    probation = read_state(folder).probation
    assert probation is not None
    assert probation.elapsed_s < 60
    assert roll_back(folder, "by hand", by_hand=True).at.year > 2000
    assert put(version("3")) == "b"


def test_a_bundle_that_does_not_open_is_not_taken_and_the_reason_is_told(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    put(version("2"))
    inspectors = opened()
    (folder.place("a") / "golden.npz").write_bytes(b"bit rot")
    with folder.lock():
        folder.switch("a")
    wait_for(lambda: inspectors.info().event == "rolled_back")
    assert inspectors.inspect(frame()).model.version == "2"
    assert "slot a does not open: " in inspectors.info().reason
    assert "golden.npz changed" in inspectors.info().reason
    assert folder.current() == "b"


def test_two_deploys_in_a_row_leave_a_slot_that_opens_to_go_back_to(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    """The second one fills the slot anew that the station still judges with; its name leads to a broken bundle now."""
    put(version("1"))
    inspectors = opened()
    with folder.lock():  # the station does not look meanwhile
        shutil.copytree(folder.place("a"), folder.place("b"))
        broken = Path(shutil.copytree(folder.place("a"), folder.path / "broken"))
        (broken / "golden.npz").write_bytes(b"bit rot")
        shutil.rmtree(folder.place("a"))
        broken.rename(folder.place("a"))
        folder.switch("b")
        folder.switch("a")
    wait_for(lambda: inspectors.info().live == "b")
    assert inspectors.info().event == "rolled_back"
    assert folder.current() == "b"


def test_a_bundle_that_only_looks_on_does_not_judge_because_the_live_one_is_damaged(
    folder: SlotFolder, config: Config, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    deploy(version("2"), config(), folder, unsigned=True, shadow=True)
    (folder.place("a") / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"golden\.npz"):
        opened()
    assert folder.current() == "a"


def test_the_station_starts_with_the_bundle_that_a_killed_deploy_had_moved_away(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    put(version("2"))
    (folder.place("b") / "golden.npz").unlink()
    folder.place("a").rename(folder.path / ".a.old")
    assert opened().model.version == "1"
    with folder.lock():
        began = time.monotonic()
        assert opened().model.version == "1"
        assert time.monotonic() - began < 10, "a start waits for no deploy where nothing is to be put back"


def test_a_damaged_live_slot_does_not_keep_the_station_from_starting(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    put(version("2"))
    (folder.place("b") / "golden.npz").unlink()
    inspectors = opened()
    assert inspectors.model.version == "1"
    assert (inspectors.info().event, folder.current()) == ("rolled_back", "a")
    (folder.place("a") / "golden.npz").unlink()
    with pytest.raises(BundleError, match=r"golden\.npz"):
        opened()


def test_a_station_without_a_deployed_bundle_says_what_to_do(opened: Callable[..., SlotInspectors]) -> None:
    with pytest.raises(DeployError, match="jetspect device deploy BUNDLE"):
        opened()


def test_a_bundle_that_rejects_what_was_good_goes_back_by_itself(
    folder: SlotFolder,
    version: Version,
    put: Put,
    opened: Callable[..., SlotInspectors],
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(version("1"))
    inspectors = opened()
    changes: list[str] = []
    inspectors.on_change = lambda: changes.append(inspectors.model.version)
    for _ in range(64):
        inspectors.inspect(frame())
    put(version("2", threshold=0.3))
    wait_for(lambda: inspectors.model.version == "2")
    for _ in range(16):
        inspectors.inspect(frame())
    wait_for(lambda: inspectors.model.version == "1")
    wait_for(lambda: changes == ["2", "1"])
    info = inspectors.info()
    assert (info.live, info.on_probation, info.event) == ("a", False, "rolled_back")
    assert info.reason.startswith("NOK rate: 16 of 16 frames (100.0 %), 0 of 16 before")
    assert "slot b goes back to slot a: NOK rate" in caplog.text
    wait_for(lambda: len(read_state(folder).slots["b"].record.outcomes) == 16)
    assert len(read_state(folder).slots["a"].record.outcomes) >= 64


def test_inspections_that_fail_send_it_back(
    version: Version, put: Put, opened: Callable[..., SlotInspectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(version("1"))
    put(version("2"))
    inspectors = opened(max_errors=1)
    with monkeypatch.context() as patched:
        patched.setattr("jetspect.runtime.inspector.check_frame", lambda *_: 1 / 0)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                inspectors.inspect(frame())
    wait_for(lambda: inspectors.model.version == "1")
    assert inspectors.info().reason.startswith("errors: 2 of 2 inspections")


def test_latencies_of_a_device_that_is_slowed_down_do_not_count(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    inspectors = opened()
    inspectors.throttled_since = lambda began: "devfreq-gpu"
    inspectors.inspect(frame())
    inspectors.close()
    record = read_state(folder).slots["a"].record
    assert (len(record.outcomes), record.latency_ms) == (1, None)
    inspectors = opened()
    inspectors.inspect(frame())
    inspectors.close()
    assert read_state(folder).slots["a"].record.latency_ms is not None


def test_the_station_tells_its_slots_when_the_device_is_slowed_down(config: Config, version: Version, put: Put) -> None:
    put(version("1"))
    with build_station(config()) as station:
        parts = station._parts
        assert isinstance(parts.inspector, SlotInspectors)
        assert parts.device is not None
        assert parts.inspector.throttled_since == parts.device.throttled_since


def test_a_rollback_by_hand_is_taken_and_has_no_probation(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    put(version("2"))
    inspectors = opened()
    roll_back(folder, "asked for", by_hand=True)
    wait_for(lambda: inspectors.model.version == "1")
    assert (inspectors.info().live, inspectors.info().event) == ("a", "switched_back")
    assert not inspectors.info().on_probation


def test_the_same_slot_filled_anew_is_taken_too(
    version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    inspectors = opened()
    put(version("2"))
    put(version("3"))
    wait_for(lambda: inspectors.model.version == "3")


def test_dying_again_and_again_on_probation_ends_it(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    """A bundle that brings down the whole process is caught by no exception; its starts are counted before it opens."""
    put(version("1"))
    put(version("2"))
    for _ in range(2):  # they are not closed, as after a kill
        assert opened(max_crashes=1).model.version == "2"
    inspectors = opened(max_crashes=1)
    assert inspectors.model.version == "1"
    assert inspectors.info().reason.startswith("crashes: the station died 2 times")


def test_a_restart_in_good_order_does_not_count(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    put(version("2"))
    for _ in range(3):
        inspectors = opened(max_crashes=0)
        assert (inspectors.model.version, inspectors.info().on_probation) == ("2", True)
        inspectors.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_probation_takes_its_time_and_its_frames_and_survives_restarts(
    folder: SlotFolder, config: Config, version: Version, put: Put
) -> None:
    put(version("1"))
    put(version("2"))
    clock, settings = Clock(), SlotSettings(probation_minutes=10, min_frames=3)
    with open_judge(config(), folder.place("b")).inspectors as inspectors:
        inspection = inspectors.inspect(frame())
        judge = open_judge(config(), folder.place("b"))
        judge.inspectors.close()
    first = Supervisor(folder, settings, clock)
    first.begin("b", judge)
    for _ in range(3):
        first.judged(inspection)
    clock.now += 599
    first.look()
    first.save()
    assert first.info("b").on_probation
    second = Supervisor(folder, settings, clock)
    second.begin("b", judge)
    assert second.info("b").frames == 3
    clock.now += 2
    assert second.look()
    second.save()
    assert (second.info("b").on_probation, second.info("b").event) == (False, "passed")
    state = read_state(folder)
    assert state.probation is None
    assert state.slots["b"].record.outcomes == "OOO"


def test_too_few_frames_pass_no_probation(folder: SlotFolder, config: Config, version: Version, put: Put) -> None:
    put(version("1"))
    put(version("2"))
    clock = Clock()
    supervisor = Supervisor(folder, SlotSettings(probation_minutes=1, min_frames=1), clock)
    judge = open_judge(config(), folder.place("b"))
    judge.inspectors.close()
    supervisor.begin("b", judge)
    clock.now += 3600
    supervisor.look()
    assert supervisor.info("b").on_probation


def test_no_way_back_is_told_and_the_station_goes_on(
    folder: SlotFolder,
    version: Version,
    put: Put,
    opened: Callable[..., SlotInspectors],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(version("1"))
    put(version("2"))
    inspectors = opened(max_errors=0)
    (folder.place("a") / "manifest.json").write_text("{}")
    with monkeypatch.context() as patched:
        patched.setattr("jetspect.runtime.inspector.check_frame", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            inspectors.inspect(frame())
    wait_for(lambda: inspectors.info().event == "kept")
    assert "slot a cannot be gone back to" in inspectors.info().reason
    assert inspectors.inspect(frame()).model.version == "2"


def test_a_note_of_a_deploy_that_was_cut_off_is_no_probation(
    folder: SlotFolder, version: Version, put: Put, opened: Callable[..., SlotInspectors]
) -> None:
    put(version("1"))
    put(version("2"))
    state = read_state(folder)
    with folder.lock():
        folder.switch("a")
        write_state(folder, state)
    inspectors = opened()
    assert (inspectors.info().live, inspectors.info().on_probation, inspectors.info().event) == ("a", False, "")
