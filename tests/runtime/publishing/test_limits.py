"""What others may do to a station with its requests, and parts with their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from delivery import ADDRESS, TOPICS, commit, inspection, publishing, wait_for
from paho.mqtt.enums import CallbackAPIVersion

from jetspect.runtime.publishing.commands import Commands, CommandSettings
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.intake import Asked, Intake
from jetspect.runtime.publishing.message_base import MAX_TEXT
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.requests import ReplayReply
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.results import Inspection

ALL = CommandSettings(receipts=True, replay=True, max_bytes=2000, per_s=60)


class Sender:
    """Sends requests and notes answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[dict[str, Any]] = []
        ready: list[bool] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.max_inflight_messages_set(0)
        self.client.max_queued_messages_set(0)
        self.client.on_connect = lambda client, *_: client.subscribe(TOPICS.replay_reply, 1)
        self.client.on_subscribe = lambda *_: ready.append(True)
        self.client.on_message = lambda c, u, m: self.answers.append(json.loads(m.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_for(lambda: bool(ready))

    def send(self, payload: bytes, topic: str = TOPICS.replay) -> None:
        self.client.publish(topic, payload, qos=1)


@pytest.fixture
def sender(mosquitto: Callable[..., Any]) -> Iterator[Sender]:
    broker = mosquitto(persistent=False)
    made = Sender(broker.port)
    yield made
    made.client.disconnect()
    made.client.loop_stop()


def answer(outbox: Outbox, payload: bytes, settings: CommandSettings = ALL) -> ReplayReply:
    """What a station says to one request."""
    intake = Intake(settings.max_bytes, settings.per_s)
    intake.put(TOPICS.replay, payload)
    asked = intake.take()
    assert asked is not None
    reply = Commands(settings, outbox, TOPICS).handle(asked)
    assert reply is not None
    return reply


@pytest.mark.parametrize(
    ("payload", "request_id", "reason"),
    [
        (b"", "", "payload: Invalid JSON"),
        (b'{"request_id": "a", "from_seq": 1', "a", "payload: Invalid JSON"),
        (b'{"request_id": "b", "from_seq": "x"}', "b", "from_seq: "),
        (b'{"request_id": "c d", "from_seq": 1}', "c d", "request_id: String should match"),
        (b'{"request_id": "' + b"e" * 99 + b'", "from_seq": 1}', "e" * 64, "request_id: String should have at most 64"),
        (b'{"request_id": 7, "from_seq": 1}', "", "request_id: "),
        (b'{"request_id": "f", "from_seq": 1, "x": "\xff"}', "", "payload: Invalid JSON"),
        (b'{"request_id": "g", "x": ' + b"[" * 1900, "", "payload: Invalid JSON: recursion limit"),
        (b"[" * 1900, "", "payload: Invalid JSON: recursion limit"),
        (b'["request_id"]', "", "payload: Input should be an object"),
        (b'{"request_id": "h", "from_seq": 1, "x": "' + b"y" * 2000, "h", "payload: 2041 bytes, commands.max_bytes"),
        (b'{"request_id": "i", "from_seq": 1, "a\\nb": 1}', "i", "a?b: Extra inputs"),
    ],
)
def test_a_request_that_is_no_good_is_answered_under_its_id_where_that_can_be_read(
    tmp_path: Path, payload: bytes, request_id: str, reason: str
) -> None:
    with Outbox(tmp_path / "o") as outbox:
        commit(outbox)
        outbox.ack([1])
        reply = answer(outbox, payload)
        assert (reply.accepted, reply.request_id) == (False, request_id)
        assert reply.reason.startswith(reason), reply.reason
        assert json.loads(reply.payload())["accepted"] is False
        assert outbox.depth() == 0


def test_a_replay_waits_for_the_ones_before(tmp_path: Path) -> None:
    settings = CommandSettings(replay=True, replay_max=5)
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(6):
            commit(outbox)
        assert answer(outbox, b'{"request_id": "a", "from_seq": 2}', settings).reason.startswith("6 results still wait")
        outbox.ack([1])
        assert answer(outbox, b'{"request_id": "a", "from_seq": 2}', settings).accepted


def test_receipts_of_any_number_of_consumers_do_not_fill_the_station(tmp_path: Path) -> None:
    with Outbox(tmp_path / "o") as outbox:
        commit(outbox)
        commands = Commands(ALL, outbox, TOPICS)
        for number in [*range(105), 3]:
            payload = json.dumps({"consumer": f"c{number}", "up_to_seq": 1}).encode()
            commands.handle(Asked(TOPICS.receipt, payload, len(payload)))
        assert (len(outbox.receipts()), commands.refused) == (100, 5)


def test_requests_come_through_at_their_rate_and_the_oldest_give_way() -> None:
    now = [0.0]
    intake = Intake(4, 2.0, clock=lambda: now[0])
    assert intake.take() is None
    for number in range(70):
        intake.put("t", f"{number}-long".encode())
    assert intake.dropped == 6
    assert [asked.payload for asked in (intake.take(), intake.take()) if asked] == [b"6-lo", b"7-lo"]
    assert intake.take() is None
    now[0] = 0.5
    taken = intake.take()
    assert taken == Asked("t", b"8-lo", 6)
    assert intake.take() is None
    now[0] = 100.0  # quiet seconds do not add up
    assert [intake.take() is None for _ in range(3)] == [False, False, True]


def test_a_rate_below_one_still_lets_a_request_through() -> None:
    now = [0.0]
    intake = Intake(10, 0.1, clock=lambda: now[0])
    for _ in range(2):
        intake.put("t", b"x")
    assert [intake.take() is None for _ in range(2)] == [False, True]
    now[0] = 10.1
    assert intake.take() is not None


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_flood_of_requests_does_not_hold_up_results(
    tmp_path: Path, sender: Sender, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        Outbox(tmp_path / "o") as outbox,
        publishing(outbox, sender.port, ALL, protocol=protocol, max_inflight=1) as publisher,
    ):
        wait_for(lambda: publisher.state == "online")
        for _ in range(1500):
            sender.send(b'{"request_id": "flood", "from_seq": 1}')
        sender.send(b"{" * 1_000_000)  # more than the broker may deliver in MQTT 5
        for number in range(50):
            commit(outbox, number)
        publisher.notify()
        assert publisher.flush(10) == 0
        wait_for(lambda: publisher.requests_ignored > 1000)
        before = len(sender.answers)
        sender.send(b'{"request_id": "after", "from_seq": 0}')
        wait_for(lambda: any(a["request_id"] == "after" for a in sender.answers[before:]))
        assert publisher.state == "online"
    assert 1 <= caplog.text.count("too many requests at once") < 5
    large = [a for a in sender.answers if "1000000 bytes" in a["reason"]]
    assert len(large) == (0 if protocol == "5" else 1)


def told(**changes: Any) -> ResultMessage:
    given = inspection()
    fields = {name: getattr(given, name) for name in given.__dataclass_fields__} | changes
    message = result_message(Inspection(**fields), ADDRESS, 1, "e")
    return ResultMessage.model_validate_json(message.payload())


def test_texts_from_outside_are_cut_and_stay_different() -> None:
    assert told(part_id="p" * MAX_TEXT).frame.part_id == "p" * MAX_TEXT
    first, second = (told(part_id="p" * 65536 + end, origin="é" * 3_000_000).frame for end in "ab")
    assert first.part_id != second.part_id
    assert first.part_id is not None
    assert len(first.part_id) == len(first.origin) == MAX_TEXT
    assert first.part_id.startswith("p" * 4000)
    assert first.part_id[-17] == "…"


def test_texts_that_are_no_unicode_cost_no_result() -> None:
    frame = told(part_id="a\udcff\ud800b\x00", reasons=("\ud800" * 5000,)).frame
    assert frame.part_id == "a??b\x00"
    assert told(frame_id="\udcff" * 70_000).frame.id.startswith("?" * 4000)
