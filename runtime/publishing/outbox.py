"""The durable queue between the inspection and the broker: SQLite, committed before the line is answered.

A row leaves only after the broker's acknowledgement, and even then it stays for a while so that it can be replayed.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from jetspect.errors import PublishError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at REAL NOT NULL,
    acked_at REAL
);
CREATE INDEX IF NOT EXISTS outbox_pending ON outbox (seq) WHERE acked_at IS NULL;
CREATE INDEX IF NOT EXISTS outbox_acked ON outbox (acked_at) WHERE acked_at IS NOT NULL;
"""


@dataclass(frozen=True)
class Row:
    """One queued message."""

    seq: int
    event_id: str
    topic: str
    payload: bytes


class Outbox:
    """Durable queue of messages in one file, for one process at a time and any number of its threads.

    Raises
    ------
    PublishError
        The file cannot be written, is no outbox or is damaged, or another process uses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._guard = _lock_file(path)
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
            # WAL with FULL: a commit has reached the disk when it returns.
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise PublishError(f"outbox {path} is damaged ({problem}); move it aside and start again")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            os.close(self._guard)
            raise self._error(error) from error
        except PublishError:
            os.close(self._guard)
            raise

    def commit(self, topic: str, build: Callable[[int, str], bytes]) -> tuple[int, str]:
        """Queue one message and return its ``seq`` and ``event_id`` once it is on disk.

        ``build(seq, event_id)`` makes the payload, so that both can stand in it.
        """
        event_id = str(uuid.uuid4())
        with self._transaction() as db:
            seq = db.execute(
                "INSERT INTO outbox (event_id, topic, payload, created_at) VALUES (?, ?, x'', ?)",
                (event_id, topic, time.time()),
            ).lastrowid
            assert seq is not None
            db.execute("UPDATE outbox SET payload = ? WHERE seq = ?", (build(seq, event_id), seq))
        return seq, event_id

    def pending(self, after_seq: int = 0, limit: int = 100) -> list[Row]:
        """Return the oldest unacknowledged messages with a larger ``seq``."""
        query = (
            "SELECT seq, event_id, topic, payload FROM outbox WHERE acked_at IS NULL AND seq > ? ORDER BY seq LIMIT ?"
        )
        return [Row(*row) for row in self._query(query, (after_seq, limit))]

    def ack(self, seqs: Iterable[int]) -> None:
        """Mark messages as acknowledged by the broker."""
        now = time.time()
        with self._transaction() as db:
            db.executemany("UPDATE outbox SET acked_at = ? WHERE seq = ?", [(now, seq) for seq in seqs])

    def reopen(self, since: float) -> int:
        """Make messages acknowledged at or after ``since`` (Unix time) pending again; return how many."""
        with self._transaction() as db:
            reopened: int = db.execute("UPDATE outbox SET acked_at = NULL WHERE acked_at >= ?", (since,)).rowcount
        return reopened

    def prune(self, keep_hours: float, max_mb: float) -> int:
        """Delete acknowledged messages that are old, or that exceed the size, oldest first. Unsent ones never go."""
        with self._transaction() as db:
            gone = db.execute("DELETE FROM outbox WHERE acked_at < ?", (time.time() - keep_hours * 3600,)).rowcount
            size = db.execute("SELECT COALESCE(SUM(LENGTH(payload)), 0) FROM outbox").fetchone()[0]
            excess = size - max_mb * 1024 * 1024
            if excess > 0:
                limit = None
                acked = "SELECT seq, LENGTH(payload) FROM outbox WHERE acked_at IS NOT NULL ORDER BY seq"
                for seq, length in db.execute(acked):
                    limit, excess = seq, excess - length
                    if excess <= 0:
                        break
                gone += db.execute("DELETE FROM outbox WHERE acked_at IS NOT NULL AND seq <= ?", (limit,)).rowcount
        return gone

    def depth(self) -> int:
        """Number of unacknowledged messages."""
        return int(self._query("SELECT COUNT(*) FROM outbox WHERE acked_at IS NULL")[0][0])

    def oldest_pending_age_s(self) -> float:
        """Age of the oldest unacknowledged message in seconds; 0 where there is none."""
        row = self._query("SELECT created_at FROM outbox WHERE acked_at IS NULL ORDER BY seq LIMIT 1")
        return max(0.0, time.time() - row[0][0]) if row else 0.0

    def close(self) -> None:
        with self._lock:
            if self._guard >= 0:
                self._db.close()
                os.close(self._guard)
                self._guard = -1

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._error(error) from error

    def _query(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._error(error) from error

    def _error(self, error: sqlite3.Error) -> PublishError:
        text = str(error)
        if "full" in text or "disk I/O" in text:
            return PublishError(f"outbox {self._path} cannot grow: {text}; free space, nothing queued is lost")
        if "not a database" in text or "malformed" in text:
            return PublishError(
                f"outbox {self._path} is damaged or not an outbox ({text}); move it aside and start again"
            )
        return PublishError(f"outbox {self._path} cannot be used: {text}; check its folder's owner and mode")


def _lock_file(path: Path) -> int:
    """Hold ``<outbox>.lock`` for this process; the kernel frees it, also after a kill."""
    lock = path.with_name(path.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PublishError(
            f"outbox {path} cannot be written: {error.strerror}; create its folder or change outbox.path"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise PublishError(f"outbox {path} is in use by another station; one outbox serves one process") from error
    return handle
