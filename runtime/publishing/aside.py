"""One piece of work at a time in a thread of its own, for a thread that must not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Aside(Generic[T]):
    """Starts work and hands over what came of it. For one thread.

    Parameters
    ----------
    wake
        Called from the other thread when work is done.
    """

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self._name, self._wake = name, wake
        self._work: Future[T] | None = None

    @property
    def busy(self) -> bool:
        """Whether there is work that nobody has taken yet, done or not."""
        return self._work is not None

    @property
    def done(self) -> bool:
        return self._work is not None and self._work.done()

    def start(self, work: Callable[[], T]) -> None:
        made = self._work = Future()

        def run() -> None:
            try:
                made.set_result(work())
            except BaseException as error:  # raised where the result is taken
                made.set_exception(error)
            self._wake()

        threading.Thread(target=run, name=self._name, daemon=True).start()

    def take(self) -> T:
        """Return what came of work that is done, or raise what it raised."""
        work, self._work = self._work, None
        if work is None:
            raise RuntimeError("no work was started")
        return work.result(timeout=0)
