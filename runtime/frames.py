"""What a source delivers: a frame that can be inspected, or the news that one could not be had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


def utc_now() -> datetime:
    """Return the current time with a UTC offset."""
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Shot:
    """Which picture of which part a frame is: what a trigger asked one camera for.

    Attributes
    ----------
    part_no
        Counts parts since the start of the station; the same ``part_id`` may come again, this number does not.
    view
        The camera, by its name in the station file.
    number
        Which shot of the part this is, from 1; every camera takes each of them.
    expected
        Frames that the whole part has: cameras times shots.
    """

    part_id: str
    part_no: int
    view: str
    number: int
    expected: int
    triggered_at: datetime


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
    exposure_us
        Exposure time in microseconds, where the camera tells it.
    shot
        What it was taken for, at a station with triggers.
    """

    image: U8
    frame_id: str
    captured_at: datetime = field(default_factory=utc_now)
    part_id: str | None = None
    origin: str = ""
    exposure_us: float | None = None
    shot: Shot | None = None

    @property
    def size_wh(self) -> tuple[int, int]:
        return int(self.image.shape[1]), int(self.image.shape[0])


class LostCause(str, Enum):
    """Why a frame is lost, in names that do not change: counters and consumers rely on them."""

    QUEUE_FULL = "queue_full"
    """Frames came faster than they were inspected, and the queue may drop."""
    MISSED = "missed"
    """The device sent or captured it and it never arrived."""
    NO_FRAME = "no_frame"
    """A trigger asked for it and the camera took none in time, or could not be told to."""
    INTERRUPTED = "interrupted"
    """A trigger asked for it, and the station ended before it came."""
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
    shot: Shot | None = None
    cause: LostCause = LostCause.UNREADABLE


def lost(item: Frame | LostFrame, reason: str, cause: LostCause) -> LostFrame:
    """Return what stands for a frame that cannot be used, in its place."""
    return LostFrame(item.frame_id, reason, item.captured_at, item.part_id, item.origin, item.shot, cause)


@dataclass(frozen=True)
class TriggerCounters:
    """What became of triggers since the start.

    Attributes
    ----------
    missed
        Shots without a frame, each an UNKNOWN result.
    unasked
        Frames that belong to no trigger; a camera that runs freely has many.
    """

    asked: int = 0
    missed: int = 0
    unasked: int = 0


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
    fault
        Why the device is not there; empty while it is, and before it was looked for.
    """

    connected: bool = True
    reconnects: int = 0
    missed: int = 0
    packets_missing: int = 0
    packets_resent: int = 0
    fault: str = ""
    triggers: TriggerCounters | None = None


@runtime_checkable
class Triggerable(Protocol):
    """A source whose camera takes a frame when it is told to."""

    def fire(self) -> None:
        """Trigger the camera once. Raises SourceError where it does not answer; callable from any thread."""
        ...


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
