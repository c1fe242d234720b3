"""Requests for a picture: at once, once each, and no flood."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jetspect.errors import InputError
from jetspect.runtime.frames import Shot, utc_now
from jetspect.runtime.publishing.intake import Asked
from jetspect.runtime.publishing.triggers import PER_S, Triggers


class Line:
    """Counts pictures; the clock stands until it is moved."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str | None] = []
        self.now, self._fails = 0.0, fails
        self.triggers = Triggers(self.picture, 1000, clock=lambda: self.now)

    def picture(self, part_id: str | None) -> Shot:
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
