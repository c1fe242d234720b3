"""The SQLite file of an outbox: one process at a time, every commit on the disk, replaced where it is damaged."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from jetspect.errors import PublishError
from jetspect.runtime.publishing.beside import Reserve, SeqMark, lock_file
from jetspect.runtime.publishing.outbox_log import LogState, look
from jetspect.runtime.publishing.outbox_tables import DamagedError, connect, count_on, is_damage, is_full
from jetspect.runtime.publishing.salvage import readable_rows

log = logging.getLogger(__name__)
T = TypeVar("T")

_FEW_PAGES = 200
_DAMAGED, _REBUILT = ".damaged-", ".rebuilt"


class OutboxFile:
    """Raises PublishError where the file cannot be written, is the database of another program or in use."""

    def __init__(self, path: Path, reserve_bytes: int) -> None:
        self.path = path
        self.lock = threading.RLock()
        self._reader: sqlite3.Connection | None = None
        self._reader_lock = threading.RLock()
        self._guard = lock_file(path)
        self.mark = SeqMark(_beside(path, ".seq"))
        self.reserve = Reserve(_beside(path, ".reserve"), reserve_bytes)
        try:
            try:
                self._db = self._open()
            except DamagedError as damage:
                self._replace(str(damage))
            except sqlite3.Error as error:
                if not (is_full(error) and self.reserve.release()):
                    raise
                self._db = self._open()
        except (sqlite3.Error, DamagedError, PublishError) as error:
            os.close(self._guard)
            raise (error if isinstance(error, PublishError) else self._error(error)) from error

    def write_soon(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """As :meth:`write`, but on the disk only with the next write: for what may be forgotten when the power fails."""
        with self.lock:
            self._db.execute("PRAGMA synchronous = NORMAL")
            try:
                return self.write(work, may_use_reserve=True)
            finally:
                self._db.execute("PRAGMA synchronous = FULL")

    def write(self, work: Callable[[sqlite3.Connection], T], *, may_use_reserve: bool = False) -> T:
        """Run ``work`` in one transaction that is on the disk on return. It may run twice: write nothing elsewhere in it."""
        with self.lock:
            if may_use_reserve and self.reserve.spent:
                self._write_back()
            try:
                return self._attempt(work)
            except (sqlite3.Error, OSError) as error:
                if not self._mend(error, may_use_reserve):
                    raise self._error(error) from error
            try:
                return self._attempt(work)
            except (sqlite3.Error, OSError) as error:
                raise self._error(error) from error

    def read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self.lock:
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                if not self._mend(error, may_use_reserve=False):
                    raise self._error(error) from error
            try:
                return self._db.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise self._error(error) from error

    def read_beside(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """As :meth:`read`, without waiting for another thread's write; sees what was committed before."""
        with self._reader_lock:
            try:
                if self._reader is None:
                    self._reader = sqlite3.connect(
                        f"file:{quote(str(self.path))}?mode=ro", uri=True, check_same_thread=False
                    )
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.Error:
                self._close_reader()
        return self.read(sql, values)  # it says what is wrong, or mends it

    def _close_reader(self) -> None:
        with self._reader_lock:
            if self._reader is not None:
                self._reader.close()
            self._reader = None

    def damaged(self) -> list[Path]:
        """Return the damaged outboxes that lie beside this one and wait for a person."""
        found = self.path.parent.glob(f"{self.path.name}{_DAMAGED}*")
        return sorted(p for p in found if not p.name.endswith(("-wal", "-shm")))

    def used_bytes(self) -> int:
        """Bytes of the pages in use, by SQLite's own count: no page is read for it."""
        count, free, size = (
            self.read(f"PRAGMA {name}")[0][0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((count - free) * size)

    def disk_bytes(self) -> int:
        """Size of the file and its log on the disk, without the reserve."""
        sizes = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                sizes += _beside(self.path, suffix).stat().st_size
        return sizes

    def shrink(self) -> None:
        """Give free pages back to the disk, in steps that are small where it is full."""
        while free := self.read("PRAGMA freelist_count")[0][0]:
            self.read(f"PRAGMA incremental_vacuum({_FEW_PAGES if self.reserve.spent else free})")
            if not self.reserve.spent:
                return
            self._write_back()

    def close(self) -> None:
        with self.lock:
            if self._guard >= 0:
                self._close_reader()
                self._db.close()
                os.close(self._guard)
                self._guard = -1

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._db)
            self._db.execute("COMMIT")
            return result
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _mend(self, error: Exception, may_use_reserve: bool) -> bool:
        """Do something about an error; True where another attempt makes sense."""
        if is_damage(error):
            self._close_reader()
            self._db.close()
            self._replace(str(error))
            return True
        if is_full(error):
            self.reserve.release()
            self._write_back()
            return may_use_reserve
        return False

    def _write_back(self) -> None:
        """Empty SQLite's log into the file, so that the room it took is there for what comes."""
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _open(self) -> sqlite3.Connection:
        rebuilt = _beside(self.path, _REBUILT)
        if rebuilt.exists() and not self.path.exists():  # killed between the renames of _replace
            self._move_log_aside(max(self.damaged(), default=None))
            rebuilt.rename(self.path)
        state = self._look_at_log()
        if state.damage:
            raise DamagedError(state.damage)
        try:
            db = connect(self.path, self.mark)
        except sqlite3.Error as error:
            # Whoever has a mark was an outbox; anything else may be a file of somebody else.
            if is_damage(error) and self.mark.bound:
                raise DamagedError(str(error)) from error
            raise
        if state.doubtful:
            log.warning("outbox %s: its last write was cut off; seq goes on after %d", self.path, self.mark.bound)
            count_on(db, self.mark.bound)
        return db

    def _look_at_log(self) -> LogState:
        """Look at the log before SQLite does: it would drop what is behind damage without a word."""
        try:
            ours = self.mark.bound and self.path.exists()  # SQLite throws away a log without its file
            return look(_beside(self.path, "-wal")) if ours else LogState()
        except OSError as error:
            raise PublishError(
                f"outbox {self.path} cannot be read ({error.strerror or error}); check the owner of its -wal file"
            ) from error

    def _move_log_aside(self, aside: Path | None) -> None:
        """Keep SQLite from reading the log of a file that was moved aside into the one that takes its place."""
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                old = _beside(self.path, suffix)
                old.rename(_beside(aside, suffix)) if aside is not None else old.unlink()

    def _replace(self, problem: str) -> None:
        """Build a new file from every row that can be read, then move the damaged one aside; a kill loses neither."""
        rebuilt, aside = _beside(self.path, _REBUILT), _free_name(self.path)
        try:
            _remove(rebuilt)
            kept, unsent = self._rebuild(rebuilt)
            self.path.rename(aside)  # first: while it is away, a kill shows at the next start
            self._move_log_aside(aside)
            rebuilt.rename(self.path)
        except (OSError, sqlite3.Error) as error:
            raise PublishError(
                f"outbox {self.path} is damaged ({problem}) and cannot be replaced ({error}); "
                "check the owner of its folder and the space on its disk"
            ) from error
        self._db = self._open()
        log.error(
            "outbox %s was damaged (%s): moved to %s; %d results were saved from it, %d of them unsent; "
            "seq goes on after %d; look into it, then remove it",
            self.path,
            problem,
            aside.name,
            kept,
            unsent,
            self.mark.bound,
        )

    def _rebuild(self, rebuilt: Path) -> tuple[int, int]:
        """Write what is readable into a new file; return how many rows, and how many of them unsent."""
        kept = unsent = 0
        with closing(connect(rebuilt, self.mark)) as db:
            db.execute("BEGIN")
            for row in readable_rows(self.path, self.mark.bound):
                new = db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, ?, ?)", row[:5]).rowcount
                db.execute("UPDATE delivery SET acked_at = ? WHERE seq = ?", (row[5], row[0]))
                kept, unsent = kept + new, unsent + (new and row[5] is None)
            db.execute("COMMIT")
        return kept, unsent

    def _error(self, error: Exception) -> PublishError:
        text = str(error)
        if is_full(error):
            return PublishError(
                f"outbox {self.path} cannot grow ({text}); free space on its disk, nothing queued is lost"
            )
        if is_damage(error) or isinstance(error, DamagedError):
            return PublishError(
                f"outbox {self.path} is damaged or no outbox ({text}); "
                "move it aside, with its -wal and -shm files, and start again"
            )
        return PublishError(f"outbox {self.path} cannot be used ({text}); check that its folder can be written")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        _beside(path, suffix).unlink(missing_ok=True)


def _free_name(path: Path) -> Path:
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
    number, aside = 1, path.with_name(f"{path.name}{_DAMAGED}{stamp}")
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}{_DAMAGED}{stamp}-{number}")
    return aside
