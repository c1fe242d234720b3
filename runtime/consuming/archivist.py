"""Keep results in an archive, whatever its database does meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

from jetspect.errors import ArchiveError
from jetspect.runtime.consuming.archive import Archive
from jetspect.runtime.consuming.reader import Received, ResultReader

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 30.0


class Archivist:
    """Stores batches. While the database is away it waits and tries again: nothing is acknowledged, so the broker keeps it."""

    def __init__(self, archive: Archive, stopping: threading.Event, tell: Callable[[str], None]) -> None:
        self._archive, self._stopping, self._tell = archive, stopping, tell

    def keep(self, batch: list[Received], reader: ResultReader) -> bool:
        wait_s, told = _FIRST_WAIT_S, ""
        while True:
            try:
                self._archive.store(batch, reader)
            except ArchiveError as error:
                if str(error) != told:
                    told = str(error)
                    self._tell(f"{told}; results wait with the broker")
                if self._stopping.wait(wait_s):
                    return False
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            else:
                if told:
                    self._tell(f"{self._archive.where} takes results again")
                return True
