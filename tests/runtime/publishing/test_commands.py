"""Receipts and replays against a real mosquitto."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import paho.mqtt.client as paho
import pytest
from delivery import TOPICS, Durable, commit, publishing, wait_for
from paho.mqtt.enums import CallbackAPIVersion

from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.contract import json_schema
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.subscriber import MqttSubscriber

ALL = CommandSettings(receipts=True, replay=True, replay_max=50)


class Consumer:
    """Sends requests and collects answers and results."""

    def __init__(self, port: int) -> None:
        self.answers: list[dict[str, Any]] = []
        self.durable = Durable(port)
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.online = False
        self.client.on_connect = lambda client, *_: client.subscribe([(TOPICS.replay_reply, 1), (TOPICS.status, 1)])
        self.client.on_subscribe = lambda *_: self._ready.append(True)
        self.client.on_message = self._take
        self._ready: list[bool] = []
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        wait_for(lambda: bool(self._ready))

    def _take(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if message.topic == TOPICS.status:
            self.online = body["state"] == "online"
        else:
            self.answers.append(body)

    def send(self, topic: str, body: object, retain: bool = False) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.client.publish(topic, data, qos=1, retain=retain).wait_for_publish(10)

    def ask(self, body: object) -> dict[str, Any]:
        wait_for(lambda: self.online)
        before = len(self.answers)
        self.send(TOPICS.replay, body)
        wait_for(lambda: len(self.answers) > before)
        jsonschema.validate(self.answers[-1], json_schema("cmd/replay/reply"))
        return self.answers[-1]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.durable.close()


@pytest.fixture
def broker(mosquitto: Callable[..., Any]) -> Any:
    return mosquitto()


@pytest.fixture
def consumer(broker: Any) -> Iterator[Consumer]:
    made = Consumer(broker.port)
    yield made
    made.close()


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_range_comes_again_with_the_same_events(
    tmp_path: Path, broker: Any, consumer: Consumer, protocol: str
) -> None:
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port, ALL, protocol=protocol) as publisher:
        for number in range(20):
            commit(outbox, number)
        publisher.notify()
        wait_for(lambda: len(consumer.durable.events) == 20)
        assert publisher.flush(10) == 0
        reply = consumer.ask({"request_id": "r1", "from_seq": 5, "to_seq": 8})
        assert (reply["request_id"], reply["accepted"], reply["queued"], reply["gone"]) == ("r1", True, 4, 0)
        wait_for(lambda: len(consumer.durable.events) == 24)
        assert [seq for seq, _ in consumer.durable.events[20:]] == [5, 6, 7, 8]
        assert all(len(events) == 1 for events in consumer.durable.seen().values())

        commit(outbox)  # new results go on, and an open end means the newest
        publisher.notify()
        reply = consumer.ask({"request_id": "r2", "from_seq": 20})
        assert (reply["to_seq"], reply["newest_seq"], reply["oldest_seq"]) == (21, 21, 1)
        wait_for(lambda: publisher.flush(0.1) == 0 and consumer.durable.missing(range(1, 22)) == set())


def test_what_the_station_no_longer_has_is_said(tmp_path: Path, broker: Any, consumer: Consumer) -> None:
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(80):
            commit(outbox)
        outbox.ack(range(1, 31))
        outbox.forget(0)
        with publishing(outbox, broker.port, ALL) as publisher:
            wait_for(lambda: publisher.flush(1) == 0)
            reply = consumer.ask({"request_id": "a", "from_seq": 25, "to_seq": 35})
            assert (reply["queued"], reply["gone"], reply["oldest_seq"]) == (5, 6, 31)
            reply = consumer.ask({"request_id": "b", "from_seq": 500})
            assert (reply["accepted"], reply["queued"], reply["to_seq"], reply["newest_seq"]) == (True, 0, None, 80)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"request_id": "x", "from_seq": 1, "to_seq": 60}, "60 results asked for, commands.replay_max allows 50"),
        ({"request_id": "x", "from_seq": 9, "to_seq": 3}, "payload: to_seq 3 is below from_seq 9"),
        ({"request_id": "x", "from_seq": 0}, "from_seq: Input should be greater than or equal to 1"),
        ({"request_id": "x", "from_seq": 1, "twice": True}, "twice: Extra inputs are not permitted"),
        ({"request_id": "a b", "from_seq": 1}, "request_id: String should match pattern"),
        (b"\xff\x00", "payload: Invalid JSON"),
        ({"request_id": "x", "from_seq": 10**30}, "from_seq: "),
    ],
)
def test_a_request_that_cannot_be_granted_is_answered_with_the_reason(
    tmp_path: Path, broker: Any, consumer: Consumer, body: object, reason: str
) -> None:
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(60):
            commit(outbox)
        outbox.ack(range(1, 61))
        outbox.note_connection(sound=True)
        with publishing(outbox, broker.port, ALL):
            reply = consumer.ask(body)
            assert not reply["accepted"]
            assert reply["reason"].startswith(reason)
            assert outbox.depth() == 0


def test_receipts_are_kept_shown_and_never_go_back(tmp_path: Path, broker: Any, consumer: Consumer) -> None:
    with Outbox(tmp_path / "o") as outbox:
        for _ in range(10):
            commit(outbox)
        with publishing(outbox, broker.port, ALL):
            wait_for(lambda: consumer.online)
            for name, seq in (("mes", 7), ("mes", 3), ("lake", 2), ("mes", 99), ("", 1)):
                consumer.send(TOPICS.receipt, {"consumer": name, "up_to_seq": seq})
            consumer.send(TOPICS.receipt, b"{")
            consumer.send(TOPICS.receipt, {"consumer": "last", "up_to_seq": 10})
            wait_for(lambda: "last" in outbox.receipts())
            assert outbox.receipts() == {"mes": 7, "lake": 2, "last": 10}
    with Outbox(tmp_path / "o") as outbox:
        assert outbox.receipts()["mes"] == 7


def test_commands_are_off_by_default_and_retained_ones_are_never_carried_out(
    tmp_path: Path, broker: Any, consumer: Consumer
) -> None:
    consumer.send(TOPICS.replay, {"request_id": "kept", "from_seq": 1}, retain=True)
    with Outbox(tmp_path / "o") as outbox:
        with publishing(outbox, broker.port) as publisher:
            commit(outbox)
            assert publisher.flush(10) == 0
            consumer.send(TOPICS.replay, {"request_id": "off", "from_seq": 1})
            consumer.send(TOPICS.receipt, {"consumer": "mes", "up_to_seq": 1})
            commit(outbox)
            assert publisher.flush(10) == 0
        assert outbox.receipts() == {}
        wait_for(lambda: not consumer.online)
        with publishing(outbox, broker.port, ALL):
            assert consumer.ask({"request_id": "on", "from_seq": 1})["queued"] == 2
    assert [a["request_id"] for a in consumer.answers] == ["on"]


def test_the_command_asks_for_results_and_says_what_came_of_it(tmp_path: Path, broker: Any, consumer: Consumer) -> None:
    def replay(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jetspect", "replay", "jetspect/s/a/l/u", "--port", str(broker.port), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    with Outbox(tmp_path / "o") as outbox:
        for _ in range(60):
            commit(outbox)
        with publishing(outbox, broker.port, ALL) as publisher:
            wait_for(lambda: consumer.online and publisher.flush(1) == 0)
            done = replay("--from", "3", "--to", "5", "--json")
            assert (done.returncode, json.loads(done.stdout)["queued"]) == (0, 3), done.stderr
            wait_for(lambda: len(consumer.durable.events) == 63)
            done = replay("--from", "1")
            assert done.returncode == 1
            assert "refused: 60 results asked for" in done.stdout
    done = replay("--from", "1", "--timeout-s", "1")
    assert done.returncode == 2
    assert "commands.replay = true" in done.stderr


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_properties_are_beside_a_result_in_mqtt_5_and_nothing_expires(
    tmp_path: Path, broker: Any, protocol: str
) -> None:
    got: list[paho.MQTTMessage] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_connect = lambda c, *_: c.subscribe(TOPICS.result, qos=1)
    client.on_message = lambda c, u, message: got.append(message)
    ready: list[bool] = []
    client.on_subscribe = lambda *_: ready.append(True)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    wait_for(lambda: bool(ready))
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port, protocol=protocol) as publisher:
        commit(outbox)
        assert publisher.flush(10) == 0
        wait_for(lambda: bool(got))
    client.disconnect()
    client.loop_stop()
    body, properties = json.loads(got[0].payload), got[0].properties
    assert properties is not None
    assert not hasattr(properties, "MessageExpiryInterval")
    if protocol == "5":
        assert dict(properties.UserProperty) == {
            "schema_id": body["schema_id"],
            "event_id": body["event_id"],
            "seq": str(body["seq"]),
        }
        assert (properties.ContentType, properties.PayloadFormatIndicator) == ("application/json", 1)
    else:
        assert not hasattr(properties, "UserProperty")


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_result_waits_in_the_broker_for_a_consumer_of_either_protocol(
    tmp_path: Path, broker: Any, protocol: str
) -> None:
    settings = BrokerSettings.model_validate({"host": "127.0.0.1", "port": broker.port, "protocol": protocol})
    with MqttSubscriber(settings, TOPICS.result, client_id="mes"):
        pass
    with Outbox(tmp_path / "o") as outbox, publishing(outbox, broker.port) as publisher:
        commit(outbox)
        assert publisher.flush(10) == 0
    time.sleep(0.2)
    with MqttSubscriber(settings, TOPICS.result, client_id="mes") as later:
        topic, payload = next(iter(later.messages(quiet_s=10)))
    assert (topic, json.loads(payload)["seq"]) == (TOPICS.result, 1)
