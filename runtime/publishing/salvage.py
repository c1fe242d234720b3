"""Read what can still be read of a damaged outbox."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jetspect.runtime.publishing.outbox_log import repaired

StoredRow = tuple[int, str, str, bytes, float, float | None]
"""seq, event_id, topic, payload, created_at, acked_at."""

_SELECT = "SELECT seq, event_id, topic, payload, created_at FROM outbox"
_PROBED = 200_000  # rows looked for one by one behind a damaged page


def readable_rows(path: Path, up_to_seq: int) -> Iterator[StoredRow]:
    """Yield every row that is whole: first in order up to the damage, then one by one behind it.

    A payload counts as whole where it is JSON that names its own ``event_id``: a damaged page can read as anything.
    """
    with _readable(path) as file, closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as db:
        db.execute(
            "PRAGMA writable_schema = ON"
        )  # nothing is written; without it a file that is too short is refused whole
        last = 0
        try:
            for row in db.execute(f"{_SELECT} ORDER BY seq"):
                last = row[0]
                if _whole(row):
                    yield (*row, _acked_at(db, last))
            return
        except sqlite3.Error:
            pass
        for seq in range(max(last + 1, up_to_seq - _PROBED), up_to_seq + 1):
            try:
                found = db.execute(f"{_SELECT} WHERE seq = ?", (seq,)).fetchone()
            except sqlite3.DatabaseError as error:
                if "not a database" in str(error):
                    return  # no row can be read without the first page
                continue
            if found is not None and _whole(found):
                yield (*found, _acked_at(db, seq))


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    """Give the file a second name whose log holds every good frame; the file and its own log stay as they are."""
    other = path.with_name(path.name + ".salvage")
    files = [other.with_name(other.name + suffix) for suffix in ("", "-wal", "-shm")]
    try:
        for file in files:
            file.unlink(missing_ok=True)
        good = path
        with suppress(OSError):  # not every file system knows links, nor has room: then SQLite reads what it can
            if frames := repaired(path.with_name(path.name + "-wal")):
                files[1].write_bytes(frames)
                os.link(path, other)
                good = other
        yield good
    finally:
        for file in files:
            file.unlink(missing_ok=True)


def _acked_at(db: sqlite3.Connection, seq: int) -> float | None:
    try:
        found = db.execute("SELECT acked_at FROM delivery WHERE seq = ?", (seq,)).fetchone()
    except sqlite3.DatabaseError:
        return None  # better twice than not at all
    return found[0] if found is not None and isinstance(found[0], float) else None


def _whole(row: Any) -> bool:
    seq, event_id, topic, payload, created_at = row
    if not (isinstance(event_id, str) and isinstance(topic, str) and isinstance(payload, bytes)):
        return False
    if not (isinstance(seq, int) and isinstance(created_at, float)):
        return False
    try:
        body = json.loads(payload)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("event_id") == event_id
