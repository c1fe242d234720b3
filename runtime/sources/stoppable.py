"""What sources have in common that read from this machine: they hold nothing open, and stopping ends every wait."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from jetspect.runtime.frames import SourceCounters

if TYPE_CHECKING:
    from typing_extensions import Self


class StoppableSource:
    """Base of sources without a device; one that can lose its folder has counters of its own."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def counters(self) -> SourceCounters:
        return SourceCounters()

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
