"""A soak accounts for every trigger, and its accounts can be wrong."""

from __future__ import annotations

import fcntl
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jetspect.benchmarks.process_memory import usage
from jetspect.benchmarks.soak import soak
from jetspect.benchmarks.soak_controller import Sent
from jetspect.benchmarks.soak_ledger import Ledger, balance


def taken(at: float) -> Sent:
    return Sent(at, puback="taken")


def result(number: int, verdict: str = "OK", reason: str = "", **changes: Any) -> dict[str, Any]:
    frame = {"part_id": f"P{number}"}
    reasons = [reason] if reason else []
    return {
        "event_id": f"e{number}",
        "seq": number,
        "verdict": verdict,
        "reasons": reasons,
        "frame": frame,
        "part": {},
        **changes,
    }


def account(
    sent: dict[str, Sent],
    recorded: list[dict[str, Any]],
    *,
    received: list[dict[str, Any]] | None = None,
    asked: int = -1,
    repeated: int = 0,
    published: int | None = None,
    dropped: dict[str, int] | None = None,
) -> Ledger:
    came = {r["event_id"]: r for r in (recorded if received is None else received)}
    triggers = {"asked": len(recorded) if asked < 0 else asked}
    published = len(came) + repeated if published is None else published
    drops = Counter(r["lost_cause"] for r in recorded if "lost_cause" in r) if dropped is None else dropped
    health = {"source": {"triggers": triggers}, "published": published, "dropped": {"queue_full": 0, **drops}}
    return balance(sent, recorded, came, repeated, health, [0.5, 100.0])


def test_a_run_in_which_everything_arrived_adds_up() -> None:
    sent = {f"P{n}": Sent(10.0 * n, "accepted", 10.0 * n, "taken") for n in (1, 2, 3)}
    lost = result(3, "UNKNOWN", "view: no frame was captured within 400 ms of the trigger")
    ledger = account(sent, [result(1), result(2, "NOK"), lost])
    assert ledger.unexplained == {}
    assert ledger.verdicts == {"NOK": 1, "OK": 1, "UNKNOWN": 1}
    assert ledger.unknown_by_cause == {"camera sent no frame in time": 1}


@pytest.mark.parametrize(
    ("sent", "recorded", "more", "what"),
    [
        ({"P1": Sent(1, "accepted", 1, "taken")}, [], {}, "accepted, no result"),
        (
            {"P1": Sent(1, "accepted", 1, "taken")},
            [result(1), result(1, event_id="e9", seq=2)],
            {},
            "more than one result for a part",
        ),
        ({}, [result(1)], {}, "result for a part that nobody triggered"),
        ({"P1": Sent(1, "refused", 1, "taken")}, [result(1)], {}, "refused, but inspected"),
        ({"P1": Sent(1, "accepted", 1, "taken")}, [result(1)], {"received": []}, "recorded, not received"),
        ({"P1": Sent(1, "accepted", 1, "taken")}, [], {"received": [result(1)]}, "received, not recorded"),
        (
            {"P1": Sent(1, "accepted", 1, "taken"), "P3": Sent(2, "accepted", 2, "taken")},
            [result(1), result(3)],
            {},
            "gaps in seq",
        ),
        (
            {"P1": Sent(1, "accepted", 1, "taken")},
            [result(1)],
            {"asked": 2},
            "triggers counted by the station that are no result",
        ),
        ({"P1": Sent(1)}, [], {}, "triggers that the broker never took"),
        ({"P1": taken(101)}, [], {}, "no answer though the station was connected"),
        (
            {"P1": taken(1), "P2": Sent(2, "accepted", 99, "taken")},
            [result(2)],
            {},
            "no answer though the station was connected",
        ),
        (
            {"P1": Sent(1, "accepted", 1, "taken")},
            [result(1)],
            {"repeated": 2, "published": 2},
            "more results came than were published",
        ),
        ({}, [], {"dropped": {"no_frame": 1}}, "drops counted by the station that are no result"),
        (
            {"P1": Sent(1, "accepted", 1, "taken")},
            [result(1, "UNKNOWN", "it never came", lost_cause="missed")],
            {"dropped": {"no_frame": 1}},
            "drops counted by the station that are no result",
        ),
        (
            {"P1": Sent(1, "accepted", 1, "taken")},
            [result(1, "UNKNOWN", "black frame")],
            {},
            "UNKNOWN for another reason",
        ),
    ],
)
def test_what_does_not_add_up_is_named(
    sent: dict[str, Sent], recorded: list[dict[str, Any]], more: dict[str, Any], what: str
) -> None:
    assert what in account(sent, recorded, **more).unexplained


def test_an_answer_may_be_lost_with_the_stations_connection() -> None:
    """It connected anew at 100: what was answered after that says nothing of the connection before."""
    later = Sent(2, "accepted", 101, "taken")
    assert account({"P1": taken(1), "P2": later}, [result(2)]).unexplained == {}
    assert account({"P1": Sent(101, puback="nobody")}, []).unexplained == {}


@pytest.mark.parametrize(
    ("samples", "flat"),
    [
        ([(200.0, 20)] * 40, True),
        ([(100.0, 20)] * 10 + [(200.0, 25)] * 30, True),
        ([(200.0 + n, 20) for n in range(40)], False),
        ([(200.0, 20 + n // 8) for n in range(40)], False),
        ([], False),
    ],
)
def test_what_grows_is_seen(samples: list[tuple[float, int]], flat: bool) -> None:
    assert usage(samples).flat is flat


def test_a_short_soak_balances(tmp_path: Path) -> None:
    with (Path(tempfile.gettempdir()) / "jetspect-tests-gige.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = soak(8, 3, tmp_path)
    assert found.ledger.unexplained == {}
    assert found.exit_code == 0
    assert sum(found.faults.values()) >= 1
    assert found.ledger.received == found.ledger.asked >= 5
    early, late = found.usage.files
    assert 0 < late <= early + 2, "open files grow"
