"""Sort out what comes on a result topic: new, repeated, after a gap, of another version, or no result at all."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from jetspect.runtime.consuming.ledger import Noted, StationLedger
from jetspect.runtime.publishing.result_message import ResultMessage

_REMEMBERED = 100_000
_LARGEST_SEQ = 2**63 - 1
_LONGEST_ID = 128
_LONGEST_TOPIC = 512  # a station's has 400 at most; an index of PostgreSQL takes 2,700 bytes
_LONGEST_TOLD = 300
_NOTHING = Noted()
_OURS = str(ResultMessage.model_fields["schema_id"].default)


@dataclass(frozen=True)
class Received:
    """One message of the result topic, sorted out.

    Attributes
    ----------
    message
        None where the payload is no result of a version this jetspect knows; ``fault`` then says why.
    repeated
        The same ``event_id`` came before: count it once.
    noted
        What it changed in the count of its station.
    other_version
        It names a schema of results that this jetspect does not know.
    """

    topic: str
    payload: bytes
    message: ResultMessage | None
    repeated: bool = False
    noted: Noted = _NOTHING
    fault: str = ""
    other_version: bool = False

    @property
    def missing(self) -> int:
        """Results of this station that were skipped just before this one."""
        opened = self.noted.opened
        return opened[1] - opened[0] + 1 if opened else 0


class ResultReader:
    """Sorts out payloads. Remembers the last 100,000 events, and of each station what is missing.

    Parameters
    ----------
    from_first
        A station's results count from ``seq`` 1, not from the first one that comes.
    """

    def __init__(
        self,
        stations: dict[str, StationLedger] | None = None,
        events: Iterable[str] = (),
        *,
        from_first: bool = False,
    ) -> None:
        self.stations = {} if stations is None else stations
        self._seen: OrderedDict[str, None] = OrderedDict.fromkeys(events)
        self._from_first = from_first

    def recent(self, count: int) -> list[str]:
        """Return the ``event_id``s that came last."""
        return list(self._seen)[-count:]

    def read(self, topic: str, payload: bytes) -> Received:
        read = parse(topic, payload)
        message = read.message
        if message is None:
            return read
        if message.event_id in self._seen:
            return Received(topic, payload, message, repeated=True)
        self._seen[message.event_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        ledger = self.stations.get(topic)
        if ledger is None:
            ledger = self.stations[topic] = StationLedger(first=1 if self._from_first else 0)
        noted = ledger.note(message.seq, message.frame.inspected_at, message.outbox_id)
        return Received(topic, payload, message, noted=noted)


def parse(topic: str, payload: bytes) -> Received:
    """Read one payload by itself."""
    if len(topic) > _LONGEST_TOPIC or "\0" in topic:
        fault = f"topic: that of a result has at most {_LONGEST_TOPIC} characters, this one has {len(topic)}"
        return Received(topic, payload, None, fault=fault)
    try:
        message = ResultMessage.model_validate_json(payload)
    except ValidationError as error:
        version = _version(payload)
        if version:
            fault = f"{version} is no version of a result that this jetspect knows ({_OURS}); install a newer one"
            return Received(topic, payload, None, fault=fault, other_version=True)
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "payload"
        return Received(topic, payload, None, fault=f"{where}: {first['msg']}")
    if message.seq > _LARGEST_SEQ:
        return Received(topic, payload, None, fault=f"seq: a seq is at most {_LARGEST_SEQ}")
    if not 0 < len(message.event_id) <= _LONGEST_ID:
        fault = f"event_id: an event_id has 1 to {_LONGEST_ID} characters, this one has {len(message.event_id)}"
        return Received(topic, payload, None, fault=fault)
    return Received(topic, payload, message)


def plain(text: str) -> str:
    """Whoever publishes chooses the text: no control characters, and no end of it."""
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST_TOLD])


def sibling(topic: str, leaf: str) -> str:
    """Return the topic of a station beside its result topic, or '' where this is no result topic."""
    stem, _, name = topic.rpartition("/")
    return f"{stem}/{leaf}" if stem and name == "result" else ""


def _version(payload: bytes) -> str:
    """Return the name of a result schema that is not ours."""
    with suppress(ValueError, RecursionError):
        data = json.loads(payload)
        named = data.get("schema_id") if isinstance(data, dict) else None
        if isinstance(named, str) and named.startswith("jetspect.result/") and named != _OURS:
            return named[:40]
    return ""
