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

# acked_at: NULL while the broker has not acknowledged. connection: whether the last one ended in good order.
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
CREATE TABLE IF NOT EXISTS connection (id INTEGER PRIMARY KEY CHECK (id = 1), sound INTEGER NOT NULL);
"""
_COLUMNS = ("seq", "event_id", "topic", "payload", "created_at", "acked_at")
_BATCH = 1000  # rows deleted per transaction, so that a commit never waits long for pruning


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
        db: sqlite3.Connection | None = None
        try:
            db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
            self._db = db
            self._prepare()
        except (sqlite3.Error, PublishError) as error:
            if db is not None:
                db.close()
            os.close(self._guard)
            raise (self._error(error) if isinstance(error, sqlite3.Error) else error) from error

    def commit(self, topic: str, build: Callable[[int, str], bytes]) -> tuple[int, str]:
        """Queue one message and return its ``seq`` and ``event_id`` once it is on disk.

        ``build(seq, event_id)`` makes the payload, so that both can stand in it. Where it raises, no ``seq`` is used up.
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
            db.executemany(
                "UPDATE outbox SET acked_at = ? WHERE seq = ? AND acked_at IS NULL", [(now, seq) for seq in seqs]
            )

    def reopen(self, seqs: Iterable[int]) -> None:
        """Make acknowledged messages pending again."""
        with self._transaction() as db:
            db.executemany("UPDATE outbox SET acked_at = NULL WHERE seq = ?", [(seq,) for seq in seqs])

    def note_connection(self, *, sound: bool) -> None:
        """Remember that a connection is open (not sound: anything may happen), or that it ended in good order (sound)."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO connection (id, sound) VALUES (1, ?)", (int(sound),))

    def unsettled(self, window_s: float) -> list[int]:
        """Return what was acknowledged in the last ``window_s`` seconds of a connection that had no good end.

        The window ends at the last acknowledgement: how long ago that was does not matter, nobody was connected since.
        """
        if any(sound for (sound,) in self._query("SELECT sound FROM connection")):
            return []
        query = "SELECT seq FROM outbox WHERE acked_at >= (SELECT MAX(acked_at) FROM outbox) - ?"
        return [seq for (seq,) in self._query(query, (window_s,))]

    def prune(self, keep_hours: float, max_mb: float) -> int:
        """Delete acknowledged messages that are old, or that exceed the size, oldest first. Unsent ones never go."""
        before = time.time() - keep_hours * 3600
        gone = self._delete("SELECT seq FROM outbox WHERE acked_at < ? LIMIT ?", (before,))
        size = self._query("SELECT COALESCE(SUM(LENGTH(payload)), 0) FROM outbox")[0][0]
        excess = size - max_mb * 1024 * 1024
        if excess > 0:
            last = 0
            acknowledged = "SELECT seq, LENGTH(payload) FROM outbox WHERE acked_at IS NOT NULL ORDER BY seq"
            for seq, length in self._query(acknowledged):
                last, excess = seq, excess - length
                if excess <= 0:
                    break
            gone += self._delete("SELECT seq FROM outbox WHERE acked_at IS NOT NULL AND seq <= ? LIMIT ?", (last,))
        if gone:
            self._query("PRAGMA incremental_vacuum")  # give the space back to the disk
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

    def _prepare(self) -> None:
        db = self._db
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file only
        # WAL with FULL: a commit has reached the disk when it returns.
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise PublishError(f"outbox {self._path} is damaged ({problem}); {_REPAIR}")
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = tuple(row[1] for row in db.execute("PRAGMA table_info(outbox)"))
        if tables and columns != _COLUMNS:
            raise PublishError(f"outbox {self._path} is the database of another program; change outbox.path")
        db.executescript(_SCHEMA)

    def _delete(self, selection: str, values: tuple[object, ...]) -> int:
        """Delete what ``selection`` finds, in batches."""
        gone = 0
        while True:
            with self._transaction() as db:
                statement = f"DELETE FROM outbox WHERE seq IN ({selection})"  # noqa: S608  # our own two selections
                count: int = db.execute(statement, (*values, _BATCH)).rowcount
            gone += count
            if count < _BATCH:
                return gone

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
            return PublishError(
                f"outbox {self._path} cannot grow ({text}); free space on its disk, nothing queued is lost"
            )
        if "not a database" in text or "malformed" in text:
            return PublishError(f"outbox {self._path} is damaged or no outbox ({text}); {_REPAIR}")
        return PublishError(f"outbox {self._path} cannot be used ({text}); check that its folder can be written")


_REPAIR = "move it aside, with its -wal and -shm files, and start again"


def _lock_file(path: Path) -> int:
    """Hold ``<outbox>.lock`` for this process; the kernel frees it, also after a kill."""
    lock = path.with_name(path.name + ".lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PublishError(
            f"outbox {path} cannot be written ({error.strerror}); create its folder, check its owner or change outbox.path"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise PublishError(f"outbox {path} is in use by another station; one outbox serves one process") from error
    return handle
