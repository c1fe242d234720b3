"""Requests for a picture: at once, once each, and no flood."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from delivery import TOPICS, commit, meta, wait_for

from jetspect.errors import InputError
from jetspect.runtime.frames import Shot, utc_now
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.commands import CommandSettings
from jetspect.runtime.publishing.intake import Asked
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.requests import ReceiptMessage
from jetspect.runtime.publishing.subscriber import MqttSubscriber
from jetspect.runtime.publishing.triggers import PER_S, Triggers


class Line:
    """Counts pictures; the clock stands until it is moved."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str | None] = []
        self.now, self._fails = 0.0, fails
        self.triggers = Triggers(self.picture, 1000, clock=lambda: self.now)

    def picture(self, part_id: str | None, ago_s: float) -> Shot:
        if self._fails:
            raise InputError(self._fails)
        self.asked.append(part_id)
        return Shot(part_id or "auto", len(self.asked), "", 1, 1, utc_now())

    def send(self, body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.triggers.handle(Asked("t", data[:1000], len(data)))


def test_the_same_request_pictures_once_and_is_answered_the_same() -> None:
    line = Line()
    first = line.send({"request_id": "r", "part_id": "P"})
    assert (first.accepted, first.part_id, first.shot) == (True, "P", 1)
    assert line.send({"request_id": "r", "part_id": "P"}) == first
    assert line.asked == ["P"]


def test_a_name_that_was_used_for_another_part_is_refused() -> None:
    line = Line()
    assert line.send({"request_id": "r", "part_id": "P"}).accepted
    other = line.send({"request_id": "r", "part_id": "Q"})
    assert not other.accepted
    assert "request_id r was part_id P before" in other.reason
    assert line.asked == ["P"]


def test_what_was_refused_may_be_sent_again_with_the_same_name() -> None:
    line = Line(fails="starting")
    assert line.send({"request_id": "r"}).reason == "starting"
    line._fails = ""
    assert line.send({"request_id": "r"}).accepted


@pytest.mark.parametrize(
    ("body", "says", "request_id"),
    [
        (b"\xff", "payload", ""),
        (b'{"request_id": "r", "part_id": ' + b"[" * 900, "payload", ""),
        (b'{"request_id": "r", "part_id": "' + b"x" * 5000, "1000", "r"),
        ({"request_id": "r", "part_id": 5}, "part_id", "r"),
    ],
)
def test_what_cannot_be_read_is_answered_by_its_name_where_it_has_one(body: Any, says: str, request_id: str) -> None:
    line = Line()
    reply = line.send(body)
    assert (reply.accepted, reply.request_id, line.triggers.refused) == (False, request_id, 1)
    assert says in reply.reason
    assert line.asked == []


def test_a_flood_is_refused_and_the_line_goes_on_after_it() -> None:
    line = Line()
    replies = [line.send({"request_id": f"r{n}"}) for n in range(int(PER_S) + 50)]
    assert sum(r.accepted for r in replies) == PER_S
    assert "triggers a second" in replies[-1].reason
    line.now += 1
    assert line.send({"request_id": "later"}).accepted


def test_few_requests_are_remembered() -> None:
    line = Line()
    for number in range(1500):
        line.now += 1
        line.send({"request_id": f"r{number}"})
    assert len(line.triggers._done) == 1000


class Station:
    """A publisher whose triggers say how long ago they came."""

    def __init__(self, outbox: Outbox, **broker: Any) -> None:
        self.ages: list[float] = []
        settings = BrokerSettings.model_validate({"host": "127.0.0.1", **broker})
        allowed = CommandSettings(receipts=True, replay=True)
        self.publisher = MqttPublisher(settings, outbox, TOPICS, meta, allowed, self.picture)
        self.settings = settings

    def picture(self, part_id: str | None, ago_s: float) -> Shot:
        self.ages.append(ago_s)
        return Shot(part_id or "auto", 1, "", 1, 1, utc_now())

    @contextmanager
    def running(self) -> Iterator[MqttSubscriber]:
        self.publisher.start()
        try:
            wait_for(lambda: self.publisher.state == "online")
            plain = BrokerSettings(host="127.0.0.1", port=self.settings.port)
            with MqttSubscriber(plain, TOPICS.trigger_reply) as line:
                yield line
        finally:
            self.publisher.close()


def trigger(line: MqttSubscriber, number: int) -> bool:
    """Send a trigger; return whether it is answered soon."""
    line.publish(TOPICS.trigger, json.dumps({"request_id": f"r{number}", "part_id": f"P{number}"}).encode())
    return any(json.loads(payload)["accepted"] for _, payload in line.messages(quiet_s=3))


def test_a_trigger_waits_for_nothing_that_the_outbox_waits_for(tmp_path: Path, mosquitto: Callable[..., Any]) -> None:
    """The disk takes its time with a commit; a receipt waits for that, the picture of the part does not."""
    with Outbox(tmp_path / "o") as outbox:
        commit(outbox)
        station = Station(outbox, port=mosquitto().port)
        with station.running() as line:
            wait_for(lambda: outbox.depth() == 0)
            with outbox._file.lock:
                receipt = ReceiptMessage(consumer="mes", up_to_seq=1)
                line.publish(TOPICS.receipt, receipt.payload())
                wait_for(lambda: station.publisher._asked.busy)
                assert trigger(line, 1)
            assert max(station.ages) < 1
            wait_for(lambda: outbox.receipts() == {"mes": 1})


def test_a_trigger_does_not_wait_while_a_new_password_is_tried(
    tmp_path: Path, mosquitto: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trying, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> str:
        trying.set()
        assert go_on.wait(20)
        return ""

    monkeypatch.setattr("jetspect.runtime.publishing.link.try_login", slow)
    monkeypatch.setattr("jetspect.runtime.publishing.renewal._LOOK_S", 0.0)
    password = tmp_path / "password"
    password.write_text("old")
    password.chmod(0o600)
    with Outbox(tmp_path / "o") as outbox:
        station = Station(outbox, port=mosquitto().port, username="u", password_file=str(password))
        with station.running() as line:
            password.write_text("newer")
            assert trying.wait(10)
            assert trigger(line, 1)
            go_on.set()
            wait_for(lambda: station.publisher.counters.reconnects == 1)
            wait_for(lambda: station.publisher.state == "online")
            assert trigger(line, 2)


def test_a_trigger_is_dated_when_it_came(tmp_path: Path, mosquitto: Callable[..., Any]) -> None:
    """What keeps the connection's thread meanwhile must not make it the trigger of the following part."""
    with Outbox(tmp_path / "o") as outbox:
        station = Station(outbox, port=mosquitto().port)
        handle = station.publisher._handle

        def late(client: Any, events: list[Any]) -> None:
            if any(kind == "trigger" for kind, _ in events):
                time.sleep(0.2)
            handle(client, events)

        station.publisher._handle = late  # type: ignore[method-assign]
        with station.running() as line:
            assert trigger(line, 1)
            assert 0.2 <= station.ages[0] < 1.5
