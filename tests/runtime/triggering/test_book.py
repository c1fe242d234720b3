"""Names of parts and numbers of shots."""

from __future__ import annotations

from jetspect.runtime.frames import utc_now
from jetspect.runtime.triggering.book import PartBook


def book(shots: int = 1, *views: str) -> PartBook:
    return PartBook(views or ("",), shots=shots, timeout_s=10.0, prefix="start")


def test_parts_without_a_name_are_numbered() -> None:
    opened = [book_.next(None, utc_now(), 0.0) for book_ in [book()] for _ in range(2)]
    assert [o.shots[0].part_id for o in opened] == ["start-000001", "start-000002"]
    assert [o.shots[0].part_no for o in opened] == [1, 2]


def test_every_view_gets_each_shot() -> None:
    parts = book(2, "top", "side")
    first, second = parts.next("A", utc_now(), 0.0), parts.next("A", utc_now(), 1.0)
    assert [(s.view, s.number, s.expected) for s in (*first.shots, *second.shots)] == [
        ("top", 1, 4),
        ("side", 1, 4),
        ("top", 2, 4),
        ("side", 2, 4),
    ]
    assert {s.part_no for s in (*first.shots, *second.shots)} == {1}


def test_the_same_name_again_is_another_part() -> None:
    parts = book()
    assert [parts.next("A", utc_now(), 0.0).shots[0].part_no for _ in range(2)] == [1, 2]


def test_no_name_is_the_next_shot_of_the_open_part() -> None:
    parts = book(2)
    parts.next("A", utc_now(), 0.0)
    assert parts.next(None, utc_now(), 0.0).shots[0].part_id == "A"


def test_the_next_part_closes_one_that_is_not_complete() -> None:
    parts = book(3, "top", "side")
    parts.next("A", utc_now(), 0.0)
    opened = parts.next("B", utc_now(), 1.0)
    assert {s.part_id for s in opened.given_up} == {"A"}
    assert [(s.number, s.view) for s in opened.given_up] == [(2, "top"), (2, "side"), (3, "top"), (3, "side")]
    assert opened.shots[0].part_id == "B"


def test_a_part_whose_next_trigger_does_not_come_is_closed() -> None:
    parts = book(2)
    assert (parts.next_s(), parts.expire(99.0)) == (None, ())
    parts.next("A", utc_now(), 5.0)
    assert parts.next_s() == 15.0
    assert parts.expire(15.0) == ()
    assert [s.number for s in parts.expire(15.1)] == [2]
    assert parts.expire(99.0) == ()
