"""Threads that want something written at the same time share one transaction, and so one wait for the disk."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

Build = Callable[[int, str], bytes]


def _taken_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass
class Wish:
    """One message that waits for the next transaction."""

    topic: str
    build: Build
    event_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    seq: int = 0
    error: BaseException | None = None
    done: bool = False
    turn: threading.Lock = field(default_factory=_taken_lock)
    """Released when it is done, or when it is its turn to write for all who wait."""


class Together:
    """Whoever comes first writes for all who wait; who comes meanwhile is written next.

    Parameters
    ----------
    write_all
        Writes all wishes in one transaction. What it raises is raised for each of them, unless a wish has an error of its own.
    lock
        Held while it writes.
    """

    def __init__(self, write_all: Callable[[list[Wish]], None], lock: AbstractContextManager[object]) -> None:
        self._write_all, self._lock = write_all, lock
        self._gate = threading.Lock()
        self._waiting: list[Wish] = []
        self._writing = False

    def write(self, wish: Wish) -> None:
        """Return when the wish is written; raise what hindered it."""
        with self._gate:
            self._waiting.append(wish)
            alone, self._writing = not self._writing, True
        if not alone:
            wish.turn.acquire()
        if not wish.done:
            try:
                with self._lock:
                    self._write_waiting()
            finally:
                with self._gate:
                    self._writing = bool(self._waiting)
                    if self._waiting:
                        self._waiting[0].turn.release()
        if wish.error is not None:
            raise wish.error

    def _write_waiting(self) -> None:
        with self._gate:
            wishes, self._waiting = self._waiting, []
        try:
            self._write_all(wishes)
        except BaseException as error:
            for wish in wishes:
                wish.error = wish.error or error
        finally:
            for wish in wishes:
                wish.done = True
                wish.turn.release()
