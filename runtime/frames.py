"""What a source delivers: a frame that can be inspected, or the news that one could not be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from types import TracebackType
from typing import Protocol

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


def utc_now() -> datetime:
    """Return the current time with a UTC offset."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True, eq=False)
class Frame:
    """One image from a source.

    Attributes
    ----------
    image
        uint8, H x W x 3 (BGR) or H x W (grey), C-contiguous. The source hands it over and does not touch it again.
    frame_id
        Unique within a source, stable when the same file is read again (a folder source uses the relative path).
    captured_at
        UTC.
    part_id
        The part in front of the camera, where the source knows it.
    origin
        Where the frame comes from, for people: a path, a device, a URL.
    """

    image: U8
    frame_id: str
    captured_at: datetime = field(default_factory=utc_now)
    part_id: str | None = None
    origin: str = ""

    @property
    def size_wh(self) -> tuple[int, int]:
        return int(self.image.shape[1]), int(self.image.shape[0])


class LostCause(str, Enum):
    """Why a frame is lost, in names that do not change: counters and consumers rely on them."""

    QUEUE_FULL = "queue_full"
    """Frames came faster than they were inspected, and the queue may drop."""
    MISSED = "missed"
    """The device sent or captured it and it never arrived."""
    INCOMPLETE = "incomplete"
    """Parts of it were lost on the network."""
    UNREADABLE = "unreadable"
    """It cannot be decoded."""
    UNEXPECTED = "unexpected"
    """It is whole, but not what the station was set up for: another size, another clock."""
    INSPECTION_FAILED = "inspection_failed"
    """It was there, and inspecting it ended with an error."""


@dataclass(frozen=True)
class LostFrame:
    """A frame that should have been there and is not usable (unreadable file, dropped by a full queue).

    It travels the same way as a frame and ends as an UNKNOWN inspection, so that no part goes without a verdict.
    """

    frame_id: str
    reason: str
    captured_at: datetime = field(default_factory=utc_now)
    part_id: str | None = None
    origin: str = ""
    cause: LostCause = LostCause.UNREADABLE


@dataclass(frozen=True)
class SourceCounters:
    """How a source fares since its start; one without a device that could go away stays at the defaults.

    Attributes
    ----------
    connected
        Whether the device is there now.
    missed
        Frames that the device sent or captured and that never arrived here.
    packets_missing, packets_resent
        Of a network camera: lost on the way, and delivered after asking again.
    """

    connected: bool = True
    reconnects: int = 0
    missed: int = 0
    packets_missing: int = 0
    packets_resent: int = 0


class Source(Protocol):
    """Delivers frames. Iterating ends when the source is exhausted or after :meth:`stop`."""

    def __iter__(self) -> Iterator[Frame | LostFrame]: ...

    def stop(self) -> None:
        """Ask the iteration to end soon; callable from any thread, more than once."""
        ...

    def counters(self) -> SourceCounters: ...

    def close(self) -> None: ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
