"""The tables of an outbox, and what SQLite's errors say about its file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from jetspect.errors import PublishError
from jetspect.runtime.publishing.beside import SeqMark

# outbox: written once. delivery: what changes, apart from the payloads, because SQLite rewrites a whole row to change one
# column. acked_at: NULL while the broker has not acknowledged. connection: whether the last one ended in good order.
# receipt: up to where a consumer has everything. count: which count of seq this is, as beside in the mark.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS delivery (seq INTEGER PRIMARY KEY, acked_at REAL);
CREATE INDEX IF NOT EXISTS delivery_pending ON delivery (seq) WHERE acked_at IS NULL;
CREATE INDEX IF NOT EXISTS delivery_acked ON delivery (acked_at) WHERE acked_at IS NOT NULL;
CREATE TRIGGER IF NOT EXISTS outbox_inserted AFTER INSERT ON outbox BEGIN
    INSERT INTO delivery (seq) VALUES (NEW.seq);
END;
CREATE TRIGGER IF NOT EXISTS outbox_deleted AFTER DELETE ON outbox BEGIN
    DELETE FROM delivery WHERE seq = OLD.seq;
END;
CREATE TABLE IF NOT EXISTS connection (id INTEGER PRIMARY KEY CHECK (id = 1), sound INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS receipt (consumer TEXT PRIMARY KEY, up_to_seq INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS count (id INTEGER PRIMARY KEY CHECK (id = 1), outbox_id TEXT NOT NULL);
"""
_COLUMNS = ("seq", "event_id", "topic", "payload", "created_at")


class DamagedError(Exception):
    """The file was an outbox and cannot be used any more."""


def connect(path: Path, mark: SeqMark) -> sqlite3.Connection:
    """Open a file and make it an outbox whose ``seq`` goes on above ``mark``."""
    db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
    try:
        _prepare(db, path, mark)
    except BaseException:
        db.close()
        raise
    return db


def count_on(db: sqlite3.Connection, bound: int) -> None:
    """Give no ``seq`` up to ``bound`` any more."""
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'")
    db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?)", (bound,))


def is_damage(error: Exception) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and any(
        words in str(error) for words in ("not a database", "malformed", "disk image")
    )


def is_full(error: Exception) -> bool:
    text = str(error)
    return "full" in text or "disk I/O" in text or "No space left" in text


def _prepare(db: sqlite3.Connection, path: Path, mark: SeqMark) -> None:
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    columns = tuple(row[1] for row in db.execute("PRAGMA table_info(outbox)"))
    if tables and columns != _COLUMNS:
        raise PublishError(f"outbox {path} is the database of another program; change outbox.path")
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect in a new file only
    # WAL with FULL: a commit has reached the disk when it returns.
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        raise DamagedError(problem)
    db.executescript(_SCHEMA)
    bound = mark.bound
    last = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
    if (last is None and bound) or (last is not None and last[0] < bound - SeqMark.STEP):
        # A new file, or an older copy that came back: what it has not seen may have been sent.
        count_on(db, bound)
    known = db.execute("SELECT outbox_id FROM count").fetchone()
    name = mark.name(known[0] if known else "")
    if known is None or known[0] != name:
        db.execute("INSERT OR REPLACE INTO count (id, outbox_id) VALUES (1, ?)", (name,))
