"""What a consumer tells a person: gaps that open and close, and messages that are no results."""

from __future__ import annotations

from dataclasses import dataclass

from jetspect.runtime.consuming.ledger import StationLedger, spell
from jetspect.runtime.consuming.reader import Received, plain
from jetspect.runtime.consuming.recovery import Lost


@dataclass
class Tally:
    """What came so far."""

    results: int = 0
    repeated: int = 0
    not_results: int = 0
    other_version: int = 0
    lost: int = 0
    """Results that will never come."""

    def count(self, received: Received) -> None:
        if received.message is None:
            self.other_version += received.other_version
            self.not_results += not received.other_version
        elif received.repeated:
            self.repeated += 1
        else:
            self.results += 1
            self.lost += sum(b - a + 1 for a, b in received.noted.given_up)


def news(received: Received) -> list[str]:
    """Return what is worth telling about one message, a line each."""
    where, noted = plain(received.topic), received.noted
    if received.message is None:
        return [f"{where}: not a result ({plain(received.fault)})"]
    told = []
    if noted.restarted:
        told.append(f"{where}: counts anew from {received.message.seq}: its outbox was replaced; gaps count from here")
    if noted.opened:
        told.append(f"{where}: {_results(received.missing)} missing before this one: {spell([noted.opened])}")
    if noted.closed:
        told.append(f"{where}: gap closed, {spell([noted.closed])} came late")
    if noted.given_up:
        why = (
            "missing of the count before, will never come" if noted.restarted else "too many gaps; no longer waited for"
        )
        told.append(f"{where}: {why}: {spell(noted.given_up)}")
    return told


def lost_line(lost: Lost) -> str:
    return f"{plain(lost.topic)}: the station no longer has {spell(lost.spans)}; lost to this consumer"


def missing_lines(stations: dict[str, StationLedger]) -> list[str]:
    """Return the gaps that are open now, a line for each station."""
    return [
        f"{plain(topic)}: {_results(ledger.missing)} missing at the end: {spell(ledger.holes)}"
        for topic, ledger in sorted(stations.items())
        if ledger.holes
    ]


def strangers_line(tally: Tally) -> str:
    """Return a line about what was no result, or ''."""
    parts = []
    if tally.not_results:
        parts.append(f"{tally.not_results} messages were no results")
    if tally.other_version:
        parts.append(f"{tally.other_version} were results of a version that this jetspect does not know")
    return "; ".join(parts)


def _results(count: int) -> str:
    return "1 result is" if count == 1 else f"{count} results are"
