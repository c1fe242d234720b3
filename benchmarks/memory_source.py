"""A camera whose frames are in memory: it costs a station nothing and delivers the moment it is asked to."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from jetspect.runtime.frames import Frame, LostFrame, utc_now
from jetspect.runtime.sources.stoppable import StoppableSource

U8 = npt.NDArray[np.uint8]


class MemorySource(StoppableSource):
    """Shows the same images in turn, one for each :meth:`fire`. Nobody may write to them."""

    def __init__(self, images: Sequence[U8]) -> None:
        super().__init__()
        self._images = tuple(images)
        self.reading = threading.Event()
        """Set once somebody iterates."""
        self._fired: queue.SimpleQueue[datetime | None] = queue.SimpleQueue()

    def fire(self) -> None:
        """Take a picture now; callable from any thread, does not wait."""
        self._fired.put(utc_now())

    def stop(self) -> None:
        super().stop()
        self._fired.put(None)

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        self.reading.set()
        number = 0
        while not self._stop.is_set() and (at := self._fired.get()) is not None:
            yield Frame(self._images[number % len(self._images)], f"memory-{number:07d}", at, origin="memory")
            number += 1
