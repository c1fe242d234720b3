"""What a consumer must remember from one run to the next, in a small JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from jetspect.errors import InputError
from jetspect.runtime.consuming.ledger import StationLedger
from jetspect.runtime.consuming.reader import ResultReader
from jetspect.runtime.publishing.message_base import Utc

# More than a broker has on its way without an acknowledgement, and more than a station repeats by itself.
_EVENTS = 2000


class _Station(BaseModel):
    first: int
    last: int
    missing: list[tuple[int, int]] = []
    gone: int = 0
    newest_at: Utc | None = None
    outbox_id: str | None = None


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_id: Literal["jetspect.consumer-state/1"] = "jetspect.consumer-state/1"
    stations: dict[str, _Station] = {}
    events: list[str] = []


class StateFile:
    """Keeps the counts of stations and the last ``event_id``s. Replaced as a whole: a kill leaves the old one or the new one.

    Raises
    ------
    InputError
        The file is no state of a consumer, or cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, *, from_first: bool = False) -> ResultReader:
        """Return a reader that goes on where the last one ended; a new one where there is no file."""
        try:
            content = _Content.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            content = _Content()
        except OSError as error:
            raise InputError(f"state file {self._path} cannot be read: {error.strerror or error}") from error
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]["msg"]
            raise InputError(
                f"state file {self._path} is no state of this jetspect ({fault}); move it aside to begin anew"
            ) from error
        stations = {
            topic: StationLedger(s.first, s.last, sorted(s.missing), s.gone, s.newest_at, s.outbox_id)
            for topic, s in content.stations.items()
        }
        return ResultReader(stations, content.events, from_first=from_first)

    def save(self, reader: ResultReader) -> None:
        content = _Content(
            stations={
                topic: _Station(
                    first=s.first,
                    last=s.last,
                    missing=s.holes,
                    gone=s.gone,
                    newest_at=s.newest_at,
                    outbox_id=s.outbox_id,
                )
                for topic, s in reader.stations.items()
            },
            events=reader.recent(_EVENTS),
        )
        beside = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as stream:
                json.dump(content.model_dump(mode="json"), stream)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise InputError(
                f"state file {self._path} cannot be written: {error.strerror or error}; name another with --state"
            ) from error
