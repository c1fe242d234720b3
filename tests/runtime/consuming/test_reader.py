"""What comes on a result topic is sorted out, whatever it is."""

from __future__ import annotations

import json

import pytest
from consumers import result

from jetspect.runtime.consuming.reader import ResultReader, sibling
from jetspect.runtime.consuming.report import Tally, news


def changed(**fields: object) -> bytes:
    return json.dumps({**json.loads(result(1)), **fields}).encode()


def test_repetitions_and_gaps_are_seen() -> None:
    reader = ResultReader()
    assert [reader.read("t", result(seq)).missing for seq in (1, 2)] == [0, 0]
    assert reader.read("t", result(2)).repeated
    assert reader.read("t", result(5)).missing == 2
    assert reader.read("other", result(5)).repeated
    assert reader.read("t", result(3)).missing == 0


def test_gaps_that_a_lost_outbox_leaves_are_told_and_counted() -> None:
    reader, tally = ResultReader(), Tally()
    told = []
    for seq, name in ((1, "a"), (4, "a"), (1, "b")):
        received = reader.read("t", changed(seq=seq, event_id=f"{name}{seq}", outbox_id=name))
        tally.count(received)
        told += news(received)
    assert told[1:] == [
        "t: counts anew from 1: its outbox was replaced; gaps count from here",
        "t: missing of the count before, will never come: 2 to 3",
    ]
    assert tally.lost == 2
    assert "outbox_id" in reader.read("t", changed(outbox_id="a\0b")).fault


def test_only_the_last_events_are_remembered_for_the_next_run() -> None:
    reader, bodies = ResultReader(), {seq: result(seq) for seq in (1, 2, 3)}
    for body in bodies.values():
        reader.read("t", body)
    again = ResultReader(reader.stations, reader.recent(2))
    assert [again.read("t", bodies[seq]).repeated for seq in (2, 3)] == [True, True]
    assert not again.read("t", bodies[1]).repeated
    assert again.stations["t"].last == 3


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", "payload: Invalid JSON"),
        (b"\xff", "payload: Invalid JSON"),
        (b"[" * 100_000, "payload: Invalid JSON"),
        (b'{"event_id": "x"}', "seq: Field required"),
        (changed(seq=0), "seq: Input should be greater"),
        (changed(seq=2**63), "seq: a seq is at most"),
        (changed(event_id=""), "event_id: an event_id has 1 to 128"),
        (changed(event_id="x" * 129), "event_id: an event_id has 1 to 128"),
        (
            changed(frame={"id": "f", "captured_at": "0001-01-01T00:00:00+14:00", "inspected_at": "2026-01-01"}),
            "frame.captured_at: Value error, 0001-01-01T00:00:00+14:00 is no time in UTC",
        ),
    ],
)
def test_what_is_no_result_is_named_and_counts_nowhere(payload: bytes, fault: str) -> None:
    reader = ResultReader()
    received = reader.read("t", payload)
    assert received.message is None
    assert fault in received.fault
    assert not received.other_version
    assert reader.stations == {}


def test_a_result_of_a_later_version_is_told_apart() -> None:
    received = ResultReader().read("t", changed(schema_id="jetspect.result/2"))
    assert received.other_version
    assert "jetspect.result/2 is no version" in received.fault


@pytest.mark.parametrize(("topic", "beside"), [("a/b/result", "a/b/receipt"), ("result", ""), ("a/b", ""), ("", "")])
def test_topics_stand_beside_a_result_topic_only(topic: str, beside: str) -> None:
    assert sibling(topic, "receipt") == beside
