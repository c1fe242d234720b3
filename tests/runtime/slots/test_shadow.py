"""A bundle that looks on tells where it differs, and costs no result anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from delivery import ADDRESS, wait_for

from jetspect.errors import ConfigError, DeployError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.frames import Frame, LostCause, lost
from jetspect.runtime.judging import open_judge
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.contract import json_schema
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.slots_message import ShadowMessage
from jetspect.runtime.publishing.subscriber import MqttSubscriber
from jetspect.runtime.slots.deploy import deploy
from jetspect.runtime.slots.folder import SlotFolder
from jetspect.runtime.slots.shadow import Shadow

Config = Callable[..., StationConfig]
Version = Callable[..., Path]
Put = Callable[[Path], str]


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetspect.runtime.slots.shadow._LOOK_S", 0.02)


def frame(level: int) -> Frame:
    image = np.full((64, 128), level, np.uint8)
    image[::8] //= 2
    image[1::8] //= 2
    return Frame(image, frame_id=f"level-{level}", part_id="P1")


class Line:
    """The live bundle's results, offered to the shadow one by one."""

    def __init__(self, config: StationConfig, folder: SlotFolder) -> None:
        self.told: list[ShadowMessage] = []
        self.live = open_judge(config, folder.place("a")).inspectors
        self.shadow = Shadow(folder, lambda slot: open_judge(config, folder.place(slot)), self.told.append)
        self._seq = 0

    def judge(self, item: Frame, *, busy: bool = False) -> None:
        self._seq += 1
        inspection = self.live.inspect(item)
        message = result_message(inspection, ADDRESS, self._seq, f"event-{self._seq}")
        self.shadow.offer(item, inspection, message, busy=busy)

    def close(self) -> None:
        self.shadow.close()
        self.live.close()


@pytest.fixture
def line(config: Config, folder: SlotFolder, version: Version, put: Put) -> Iterator[Line]:
    """Version 1 is live and says NOK from 242 of 255 on, version 2 from 77 on."""
    put(version("1"))
    deploy(version("2", threshold=0.3), config(), folder, unsigned=True, shadow=True)
    made = Line(config(), folder)
    wait_for(lambda: made.shadow.ready)
    yield made
    made.close()


def test_only_differences_are_told_with_what_both_say(line: Line) -> None:
    for level in (60, 150, 250):  # OK to both, NOK to version 2 alone, NOK to both
        line.judge(frame(level))
        wait_for(lambda: line.shadow.ready)
    (told,) = line.told
    assert (told.frame_id, told.part_id, told.seq, told.event_id) == ("level-150", "P1", 2, "event-2")
    assert (told.live.verdict.value, told.live.model.version) == ("OK", "1")
    assert (told.shadow.verdict.value, told.shadow.model.version) == ("NOK", "2")
    assert (told.compared, told.differed, told.skipped) == (2, 1, 0)
    jsonschema.validate(json.loads(told.payload()), json_schema("shadow"))


def test_it_skips_while_frames_wait_and_looks_at_no_lost_frame(line: Line) -> None:
    line.judge(frame(150), busy=True)
    gone = lost(frame(150), "missed", LostCause.MISSED)
    inspection = line.live.inspect(gone)
    line.shadow.offer(gone, inspection, result_message(inspection, ADDRESS, 9, "e"), busy=False)
    line.judge(frame(151))
    wait_for(lambda: bool(line.told))
    assert (line.told[0].frame_id, line.told[0].compared, line.told[0].skipped) == ("level-151", 1, 1)


def test_offering_returns_at_once_while_the_shadow_is_at_work(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, leave = threading.Event(), threading.Event()
    compare = Shadow._compare

    def slow(self: Shadow, *work: Any) -> None:
        entered.set()
        assert leave.wait(10)
        compare(self, *work)

    monkeypatch.setattr(Shadow, "_compare", slow)
    line.judge(frame(150))
    assert entered.wait(10)
    for level in (151, 152):
        line.judge(frame(level))
    leave.set()
    wait_for(lambda: bool(line.told))
    assert (line.told[0].frame_id, line.told[0].skipped) == ("level-150", 2)


def test_a_shadow_that_fails_costs_no_result_and_the_next_one_is_taken(
    line: Line, folder: SlotFolder, config: Config, version: Version, caplog: pytest.LogCaptureFixture
) -> None:
    (folder.place("b") / "golden.npz").write_bytes(b"bit rot")
    folder.place("b").rename(folder.path / "away")
    wait_for(lambda: not line.shadow.ready)
    line.judge(frame(150))
    (folder.path / "away").rename(folder.place("b"))
    wait_for(lambda: "the shadow bundle: " in caplog.text)
    deploy(version("3", threshold=0.3), config(), folder, unsigned=True, shadow=True)
    wait_for(lambda: line.shadow.ready)
    line.judge(frame(150))
    wait_for(lambda: bool(line.told))
    assert line.told[0].shadow.model.version == "3"


def test_a_deploy_to_look_on_switches_nothing_and_needs_a_live_bundle(
    folder: SlotFolder, config: Config, version: Version, put: Put
) -> None:
    with pytest.raises(DeployError, match="nothing is live"):
        deploy(version("1"), config(), folder, unsigned=True, shadow=True)
    put(version("1"))
    deploy(version("2"), config(), folder, unsigned=True, shadow=True)
    assert folder.current() == "a"
    assert put(version("2")) == "b"


def test_without_a_broker_there_is_no_one_to_tell(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"slots\.shadow needs \[broker\]"):
        config(slots={"shadow": True})


def test_a_station_publishes_the_differences(
    folder: SlotFolder, config: Config, version: Version, put: Put, mosquitto: Callable[..., Any]
) -> None:
    put(version("1"))
    deploy(version("2", threshold=0.05), config(), folder, unsigned=True, shadow=True)
    broker = BrokerSettings(host="127.0.0.1", port=mosquitto().port)
    settings = config(
        broker={"host": broker.host, "port": broker.port},
        source={"kind": "synthetic", "size_wh": [128, 64], "rate_hz": 50},
        slots={"shadow": True},
    )
    with build_station(settings) as station, MqttSubscriber(broker, "+/+/+/+/+/+/shadow") as subscriber:
        runner = threading.Thread(target=station.run)
        runner.start()
        topic, payload = next(iter(subscriber.messages(quiet_s=10)))
        station.stop()
        runner.join()
    told = json.loads(payload)
    assert topic == "jetspect/v1/s/a/l/u/shadow"
    assert (told["live"]["model"]["version"], told["shadow"]["model"]["version"]) == ("1", "2")
    assert not [t.name for t in threading.enumerate() if t.name.startswith("jetspect-")]
