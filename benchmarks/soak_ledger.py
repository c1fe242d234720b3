"""What became of every trigger of a soak; nothing may be left unexplained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jetspect.benchmarks.soak_controller import Sent

CAUSES = {
    "no frame was captured within": "camera sent no frame in time",
    "the trigger did not reach the camera": "camera away when triggered",
    "the camera was not triggered": "camera slow to take the trigger before",
    "packets of it": "packets lost",
    "it never came": "frame lost on the way",
    "came too early": "triggered too early",
    "the station stopped": "station stopped",
}


@dataclass(frozen=True)
class Ledger:
    """Counts of one run. ``unexplained`` holds what does not add up, and is empty in a good run."""

    triggered: int
    accepted: int
    refused: int
    unanswered: int
    asked: int
    inspected: int
    published: int
    received: int
    repeated: int
    verdicts: dict[str, int]
    unknown_by_cause: dict[str, int]
    unexplained: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def balance(
    sent: Mapping[str, Sent],
    recorded: Sequence[Mapping[str, Any]],
    received: Mapping[str, Mapping[str, Any]],
    repeated: int,
    health: Mapping[str, Any],
    connections: Iterable[float],
) -> Ledger:
    """Hold three accounts against each other: the controller's, the station's own lines, and its counters.

    Parameters
    ----------
    sent
        Triggers by part.
    recorded, received
        Results as the station printed them, and as they came over the broker, by ``event_id``.
    health
        The station's last health message.
    connections
        When the station was heard to connect; monotonic seconds, like the times of ``sent``.
    """
    connected = sorted(connections)
    answers = Counter(s.answer or "unanswered" for s in sent.values())
    parts = Counter(str(r["frame"]["part_id"]) for r in recorded)
    events = {str(r["event_id"]) for r in recorded}
    reasons = [_cause(r) for r in recorded if r["verdict"] == "UNKNOWN"]
    accepted = {part for part, s in sent.items() if s.answer == "accepted"}
    lost = [s for part, s in sent.items() if not s.answer and part not in parts and s.puback == "taken"]
    published = int(health.get("published", 0))
    dropped = Counter({cause: int(count) for cause, count in health.get("dropped", {}).items() if count})
    causes = Counter(str(r["lost_cause"]) for r in recorded if r.get("lost_cause"))
    asked = int(health.get("source", {}).get("triggers", {}).get("asked", 0))
    seqs = sorted(int(r["seq"]) for r in received.values())
    unexplained = {
        "accepted, no result": len(accepted - parts.keys()),
        "more than one result for a part": sum(n - 1 for n in parts.values()),
        "result for a part that nobody triggered": len(parts.keys() - sent.keys()),
        "refused, but inspected": sum(s.answer == "refused" and part in parts for part, s in sent.items()),
        "recorded, not received": len(events - received.keys()),
        "received, not recorded": len(received.keys() - events),
        "gaps in seq": seqs[-1] - seqs[0] + 1 - len(seqs) if seqs else 0,
        "triggers counted by the station that are no result": abs(asked - len(recorded)),
        "triggers that the broker never took": sum(not s.puback for s in sent.values()),
        "no answer though the station was connected": sum(not _lost_with_connection(s, sent, connected) for s in lost),
        "more results came than were published": max(0, len(received) + repeated - published),
        "drops counted by the station that are no result": ((dropped - causes) + (causes - dropped)).total(),
        "UNKNOWN for another reason": reasons.count(""),
        "results without the verdict on their part": sum("part" not in r for r in recorded),
    }
    return Ledger(
        triggered=len(sent),
        accepted=answers["accepted"],
        refused=answers["refused"],
        unanswered=answers["unanswered"],
        asked=asked,
        inspected=len(recorded),
        published=published,
        received=len(received),
        repeated=repeated,
        verdicts=dict(sorted(Counter(str(r["verdict"]) for r in recorded).items())),
        unknown_by_cause=dict(sorted(Counter(filter(None, reasons)).items())),
        unexplained={what: count for what, count in unexplained.items() if count},
    )


def _lost_with_connection(lost: Sent, sent: Mapping[str, Sent], connections: Sequence[float]) -> bool:
    """Whether a trigger that the broker took went with the station's connection.

    Over one connection triggers come in order: where a later one was answered before the station connected anew, this one
    must have come too.
    """
    anew = next((at for at in connections if at > lost.at), None)
    return anew is not None and not any(
        other.at > lost.at and other.answer and other.answered_at < anew for other in sent.values()
    )


def _cause(result: Mapping[str, Any]) -> str:
    reason = "; ".join(result["reasons"])
    return next((name for words, name in CAUSES.items() if words in reason), "")
