"""The durable queue between the inspection and the broker: SQLite, committed before the line is answered.

A row leaves only after the broker's acknowledgement, and even then it stays for a while so that it can be replayed.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from jetspect.errors import PublishError
from jetspect.runtime.publishing.outbox_file import OutboxFile
from jetspect.runtime.publishing.steady_clock import SteadyClock
from jetspect.runtime.publishing.together import Build, Together, Wish

_BATCH, _SMALL_BATCH = 1000, 50  # rows deleted per transaction, so that a commit never waits long; on a full disk
_RESERVE_BYTES = 8 * 1024 * 1024  # more than SQLite's log grows to before it is written back
# One statement for any number of rows: between two statements another thread may take the interpreter for milliseconds.
_ACK = "UPDATE delivery SET acked_at = ? WHERE acked_at IS NULL AND seq IN (SELECT value FROM json_each(?))"
_INSERT = "INSERT INTO outbox (seq, event_id, topic, payload, created_at) VALUES "
_TOGETHER = 100  # rows of one INSERT


@dataclass(frozen=True)
class Row:
    """One queued message."""

    seq: int
    event_id: str
    topic: str
    payload: bytes


def _acknowledge(db: sqlite3.Connection, acked: list[tuple[float, int]]) -> None:
    if acked:
        db.execute(_ACK, (max(at for at, _ in acked), json.dumps([seq for _, seq in acked])))


class Outbox:
    """Durable queue of messages in one file, for one process at a time and any number of its threads.

    A damaged file is moved aside and replaced by a new one with everything that can still be read; ``seq`` goes on above all
    that was ever used. ``damaged`` names what was moved aside until somebody removes it.

    Parameters
    ----------
    reserve_bytes
        Kept back on the disk, so that results can be acknowledged and forgotten when it is full.
    clock
        Seconds since 1970; it may jump.

    Raises
    ------
    PublishError
        The file cannot be written, is no outbox, or another process uses it.
    """

    def __init__(
        self, path: Path, *, reserve_bytes: int = _RESERVE_BYTES, clock: Callable[[], float] = time.time
    ) -> None:
        self._file = OutboxFile(path, reserve_bytes)
        times = self._file.read("SELECT MAX(acked_at) FROM delivery")
        times += self._file.read("SELECT created_at FROM outbox ORDER BY seq DESC LIMIT 1")
        self._clock = SteadyClock(clock, max((at for (at,) in times if at), default=0.0))
        self._together = Together(self._commit_all, self._file.lock)
        self._acked: list[tuple[float, int]] = []
        self._gate = threading.Lock()

    def commit(self, topic: str, build: Build) -> tuple[int, str]:
        """Queue one message and return its ``seq`` and ``event_id`` once it is on disk.

        ``build(seq, event_id)`` makes the payload, so that both can stand in it; it may be called again when the first
        transaction fails. Where it raises, no ``seq`` is used up. Threads that commit at the same time share one
        transaction, and so one wait for the disk.
        """
        wish = Wish(topic, build)
        self._together.write(wish)
        return wish.seq, wish.event_id

    def _commit_all(self, wishes: list[Wish]) -> None:
        if not self._file.reserve.keep():
            raise PublishError(
                f"outbox {self._file.path} cannot grow: its disk is full; free space on it, nothing queued is lost"
            )
        acked = self._take_acked()
        try:
            self._file.write(lambda db: self._insert(db, wishes, acked))
        except BaseException:
            self._give_back(acked)
            raise

    def _insert(self, db: sqlite3.Connection, wishes: list[Wish], acked: list[tuple[float, int]]) -> None:
        found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        seq, now, rows = found[0] if found else 0, self._clock.now(), []
        for wish in wishes:
            try:
                payload = wish.build(seq + 1, wish.event_id)
            except BaseException as error:  # told to the one who asked, in its own thread
                wish.error = error
                continue
            seq += 1
            wish.seq, wish.error = seq, None
            rows.append((seq, wish.event_id, wish.topic, payload, now))
        self._file.mark.cover(seq)
        _acknowledge(db, acked)
        for start in range(0, len(rows), _TOGETHER):
            some = rows[start : start + _TOGETHER]
            db.execute(_INSERT + ", ".join(["(?, ?, ?, ?, ?)"] * len(some)), [value for row in some for value in row])

    def pending(self, after_seq: int = 0, limit: int = 100) -> list[Row]:
        """Return the oldest unacknowledged messages with a larger ``seq``."""
        query = (
            "SELECT seq, event_id, topic, payload FROM delivery JOIN outbox USING (seq) "
            "WHERE acked_at IS NULL AND seq > ? ORDER BY seq LIMIT ?"
        )
        # Acknowledgements taken before reading: those written meanwhile are in what is read.
        with self._gate:
            acked = {seq for _, seq in self._acked}
        rows = self._file.read_beside(query, (after_seq, limit + len(acked)))
        return [Row(*row) for row in rows if row[0] not in acked][:limit]

    def newest(self, limit: int) -> list[Row]:
        """Return the newest messages, acknowledged or not, the newest first."""
        query = "SELECT seq, event_id, topic, payload FROM outbox ORDER BY seq DESC LIMIT ?"
        return [Row(*row) for row in self._file.read(query, (limit,))]

    def ack(self, seqs: Iterable[int]) -> None:
        """Mark messages as acknowledged by the broker. Where the process dies just then, they go out again.

        While another thread writes this does not wait: it is written with the next results, or before anyone looks.
        """
        now = self._clock.now()
        with self._gate:
            self._acked += [(now, seq) for seq in seqs]
        if self._file.lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._file.lock.release()

    def _settle(self) -> None:
        """Write the acknowledgements that wait."""
        with self._file.lock:
            if acked := self._take_acked():
                try:
                    self._file.write_soon(lambda db: _acknowledge(db, acked))
                except BaseException:
                    self._give_back(acked)
                    raise

    def _take_acked(self) -> list[tuple[float, int]]:
        with self._gate:
            acked, self._acked = self._acked, []
        return acked

    def _give_back(self, acked: list[tuple[float, int]]) -> None:
        with self._gate:
            self._acked = acked + self._acked

    def reopen(self, seqs: Iterable[int]) -> None:
        """Make acknowledged messages pending again."""
        self._settle()
        values = [(seq,) for seq in seqs]
        sql = "UPDATE delivery SET acked_at = NULL WHERE seq = ?"
        self._file.write(lambda db: db.executemany(sql, values), may_use_reserve=True)

    def reopen_range(self, first: int, last: int, topic: str) -> int:
        """Make the messages of a range on one topic pending again; return how many there are."""
        sql = (
            "UPDATE delivery SET acked_at = NULL "
            "WHERE seq IN (SELECT seq FROM outbox WHERE seq BETWEEN ? AND ? AND topic = ?)"
        )
        self._settle()
        return self._change(sql, first, last, topic)

    def span(self) -> tuple[int, int] | None:
        """Return the oldest and the newest ``seq`` that are still here."""
        found = self._file.read("SELECT (SELECT MIN(seq) FROM outbox), (SELECT MAX(seq) FROM outbox)")[0]
        return None if found[0] is None else (found[0], found[1])

    def note_connection(self, *, sound: bool) -> None:
        """Remember that a connection is open (not sound: anything may happen), or that it ended in good order (sound)."""
        self._change("INSERT OR REPLACE INTO connection (id, sound) VALUES (1, ?)", int(sound))

    def note_receipt(self, consumer: str, up_to_seq: int) -> None:
        """Remember up to where a consumer has everything; a late, lower receipt changes nothing."""
        sql = (
            "INSERT INTO receipt (consumer, up_to_seq) VALUES (?, ?) "
            "ON CONFLICT (consumer) DO UPDATE SET up_to_seq = MAX(up_to_seq, excluded.up_to_seq)"
        )
        self._change(sql, consumer, up_to_seq)

    def receipts(self) -> dict[str, int]:
        """Return the last receipt of each consumer."""
        return dict(self._file.read("SELECT consumer, up_to_seq FROM receipt ORDER BY consumer"))

    def unsettled(self, window_s: float) -> list[int]:
        """Return what was acknowledged in the last ``window_s`` seconds of a connection that had no good end.

        The window ends at the last acknowledgement: how long ago that was does not matter, nobody was connected since.
        """
        self._settle()
        if any(sound for (sound,) in self._file.read("SELECT sound FROM connection")):
            return []
        query = "SELECT seq FROM delivery WHERE acked_at >= (SELECT MAX(acked_at) FROM delivery) - ?"
        return [seq for (seq,) in self._file.read(query, (window_s,))]

    def forget(self, keep_hours: float) -> int:
        """Delete messages that were acknowledged so long ago; return how many."""
        self._settle()
        before = self._clock.now() - keep_hours * 3600
        sql = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM delivery WHERE acked_at < ? LIMIT ?)"
        gone = 0
        while count := self._change(sql, before, self._batch):
            gone += count
        if gone:
            self._file.shrink()
        return gone

    def drop_acknowledged(self, excess_bytes: float) -> int:
        """Delete acknowledged messages, oldest first, until so many bytes are free; return how many bytes that made."""
        self._settle()
        before, freed = self.used_bytes(), 0
        oldest = (
            "SELECT seq, LENGTH(payload) FROM delivery JOIN outbox USING (seq) "
            "WHERE acked_at IS NOT NULL ORDER BY seq LIMIT ?"
        )
        sql = "DELETE FROM outbox WHERE seq IN (SELECT seq FROM delivery WHERE acked_at IS NOT NULL AND seq <= ?)"
        while freed < excess_bytes and (rows := self._file.read(oldest, (self._batch,))):
            last, expected = 0, freed
            for seq, length in rows:
                last, expected = seq, expected + length
                if expected >= excess_bytes:
                    break
            self._change(sql, last)
            freed = before - self.used_bytes()
        if freed:
            self._file.shrink()
        return freed

    def used_bytes(self) -> int:
        """Bytes that the messages take in the file; room that is free for new ones does not count."""
        return self._file.used_bytes()

    def disk_bytes(self) -> int:
        """Bytes of its files, with room that is free for new messages; does not wait for a write."""
        return self._file.disk_bytes()

    def depth(self) -> int:
        """Number of unacknowledged messages."""
        self._settle()
        return int(self._file.read("SELECT COUNT(*) FROM delivery WHERE acked_at IS NULL")[0][0])

    def oldest_pending_age_s(self) -> float:
        """Age of the oldest unacknowledged message in seconds; 0 where there is none."""
        self._settle()
        row = self._file.read(
            "SELECT created_at FROM delivery JOIN outbox USING (seq) WHERE acked_at IS NULL ORDER BY seq LIMIT 1"
        )
        return max(0.0, self._clock.now() - row[0][0]) if row else 0.0

    @property
    def tight(self) -> bool:
        """Whether its disk is so full that the reserve was given up; nothing new is taken until it is back."""
        return self._file.reserve.spent

    @property
    def outbox_id(self) -> str:
        """Names the count of ``seq``; another one where it began anew, because everything was lost."""
        return self._file.mark.outbox_id

    @property
    def damaged(self) -> list[Path]:
        return self._file.damaged()

    def close(self) -> None:
        with suppress(PublishError):  # what is not written goes out again
            self._settle()
        self._file.close()

    def __enter__(self) -> Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _batch(self) -> int:
        return _SMALL_BATCH if self.tight else _BATCH

    def _change(self, sql: str, *values: object) -> int:
        """Change what is there, also on a full disk; return how many rows."""
        return int(self._file.write(lambda db: db.execute(sql, values).rowcount, may_use_reserve=True))
