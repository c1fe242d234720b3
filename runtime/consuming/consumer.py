"""The loop of every consumer: take, keep, acknowledge, then say so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from jetspect.errors import InputError
from jetspect.runtime.consuming.inbox import Inbox, Letter
from jetspect.runtime.consuming.reader import Received, ResultReader, sibling
from jetspect.runtime.consuming.receipts import Receipts
from jetspect.runtime.consuming.recovery import Recovery
from jetspect.runtime.consuming.report import Tally, lost_line, news

REPLY = "cmd/replay/reply"


class Keeps(Protocol):
    """Where results go."""

    def keep(self, batch: list[Received], reader: ResultReader) -> bool:
        """Keep a batch, with the counts that it leads to; False: it could not, and the consumer is leaving."""
        ...


class Consumer:
    """Takes results from an inbox. A message is acknowledged, and counts in a receipt, after it was kept and not before.

    Parameters
    ----------
    tell
        Called with each line that a person should see.
    """

    def __init__(
        self,
        inbox: Inbox,
        reader: ResultReader,
        keeper: Keeps,
        *,
        receipts: Receipts | None = None,
        recovery: Recovery | None = None,
        tell: Callable[[str], None],
    ) -> None:
        self._inbox, self._reader, self._keeper = inbox, reader, keeper
        self._receipts, self._recovery, self._tell = receipts, recovery, tell
        self._connections = 0
        self.tally = Tally()

    def run(self, *, count: int = 0, quiet_s: float | None = None, most: int = 500) -> None:
        """Work until the inbox is stopping, ``count`` results came, or nothing came for ``quiet_s``."""
        left = count
        batches = self._inbox.batches(lambda: min(most, left) if count else most, quiet_s)
        for letters in batches:
            if letters and not self._take(letters):
                return
            self._chores()
            left = count - self.tally.results
            if count and left <= 0:
                break
        if self._receipts is not None:
            self._receipts.send(self._reader.stations, leaving=True)

    def _take(self, letters: list[Letter]) -> bool:
        batch: list[Received] = []
        for letter in letters:
            if letter.topic.endswith("/" + REPLY):
                self._take_reply(letter)
            else:
                batch.append(self._reader.read(letter.topic, letter.payload))
        if not self._keeper.keep(batch, self._reader):
            return False
        self._inbox.acknowledge(letters)
        for received in batch:
            self.tally.count(received)
            for line in news(received):
                self._tell(line)
        return True

    def _take_reply(self, letter: Letter) -> None:
        if self._recovery is None:
            return
        lost = self._recovery.answered(letter.topic, letter.payload, self._reader.stations)
        if lost is not None:
            self.tally.lost += sum(b - a + 1 for a, b in lost.spans)
            self._tell(lost_line(lost))

    def _chores(self) -> None:
        if self._receipts is not None:
            self._receipts.send(self._reader.stations)
        if self._recovery is not None:
            anew = self._connections != self._inbox.connections
            self._connections = self._inbox.connections
            self._recovery.ask(self._reader.stations, newest=anew)


def reply_filter(topic_filter: str) -> str:
    """Return the filter for the answers to requests for a replay.

    Raises
    ------
    InputError
        The filter does not end in ``result``, so that it is not known where answers come.
    """
    found = sibling(topic_filter, REPLY)
    if not found:
        raise InputError(f"--recover needs a topic filter that ends in /result; got {topic_filter!r}")
    return found


@contextmanager
def leaving_on_signals(stopping: threading.Event) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the work in good order, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stopping.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
