"""Sources whose device can go away: one place for opening it again, its pauses and its counters."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from pydantic import Field, model_validator

from jetspect.errors import InputError, SourceError
from jetspect.runtime.frames import U8, Frame, LostCause, LostFrame, SourceCounters, utc_now
from jetspect.runtime.settings import Settings

log = logging.getLogger(__name__)
Self = TypeVar("Self", bound="LiveSource")


class LiveSettings(Settings):
    """What every source with a device has."""

    retry_s: float = Field(
        1.0, gt=0, le=300, description="First pause before a lost device is opened again, seconds; doubles"
    )
    retry_max_s: float = Field(30.0, gt=0, le=3600, description="Longest such pause, seconds")

    @model_validator(mode="after")
    def _growing(self) -> LiveSettings:
        if self.retry_max_s < self.retry_s:
            raise ValueError(f"retry_max_s ({self.retry_max_s:g}) is shorter than retry_s ({self.retry_s:g})")
        return self


class Backoff:
    """Pauses that double up to a limit, each shortened by up to a quarter by chance.

    Stations that lost their cameras with the same switch must not all come back in the same moment.
    """

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def pause_s(self) -> float:
        pause = self._next_s
        self._next_s = min(2 * self._next_s, self._longest_s)
        return pause * random.uniform(0.75, 1.0)

    def reset(self) -> None:
        self._next_s = self._first_s


class LiveSource(ABC):
    """Delivers what :meth:`_session` delivers, and begins a new session when one breaks, until stopped.

    Parameters
    ----------
    name
        The device, for people: in logs, reasons and as the origin of frames. Must hold no credentials.
    """

    def __init__(self, name: str, settings: LiveSettings) -> None:
        self._name = name
        self._stop = threading.Event()
        self._backoff = Backoff(settings.retry_s, settings.retry_max_s)
        self._healthy_s = settings.retry_max_s
        self._counters = SourceCounters(connected=False)
        self._up_since: float | None = None
        self._sessions = 0
        self._ended = False
        self._numbered = 0
        self._shape: tuple[int, ...] | None = None
        self._exposure_us: float | None = None

    @abstractmethod
    def _session(self) -> Iterator[Frame | LostFrame]:
        """Open the device, call :meth:`_up`, deliver. Ends or raises a JetspectError when it breaks; then closes it."""

    def _up(self) -> None:
        """Note that the device is there."""
        self._up_since = time.monotonic()
        self._sessions += 1
        self._count(connected=True, reconnects=self._sessions - 1, fault="")
        if self._sessions > 1:
            log.warning("%s is there again (reconnects so far: %d)", self._name, self._sessions - 1)

    def _end(self) -> None:
        """Say in a session that nothing will follow it."""
        self._ended = True

    def _count(self, **values: Any) -> None:
        self._counters = dataclasses.replace(self._counters, **values)

    def _frame(self, image: U8, at: datetime) -> Frame | LostFrame:
        """Number a frame; one of another shape than the first is not used: limits and geometry were set for that."""
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            return self._lost(
                f"it has {_shape(image.shape)}, the first ones had {_shape(self._shape)}; "
                "set the camera as it was, or start the station anew",
                at,
                LostCause.UNEXPECTED,
            )
        return Frame(image, self._next_id(), at, origin=self._name, exposure_us=self._exposure_us)

    def _lost(self, reason: str, at: datetime | None = None, cause: LostCause = LostCause.UNREADABLE) -> LostFrame:
        frame_id = self._next_id()
        told = f"frame {frame_id} of {self._name}: {reason}"
        return LostFrame(frame_id, told, at or utc_now(), origin=self._name, cause=cause)

    def _next_id(self) -> str:
        self._numbered += 1
        return f"{self._numbered:08d}"

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        told = ""
        while not self._stop.is_set():
            reason = f"{self._name} delivers no more frames"
            try:
                with closing(self._session()) as items:  # type: ignore[type-var]  # generators all
                    for item in items:
                        if isinstance(item, Frame):
                            self._backoff.reset()
                            told = ""
                        yield item
            except (SourceError, InputError) as error:
                reason = str(error)
            if self._ended or self._stop.is_set():
                return
            if self._up_since is not None and time.monotonic() - self._up_since > self._healthy_s:
                self._backoff.reset()  # a triggered camera may stand well for hours without a frame
            self._up_since = None
            self._count(connected=False, fault=reason)
            pause = self._backoff.pause_s()
            # Once per cause: an outage over a weekend must not fill the log.
            log.log(logging.INFO if reason == told else logging.WARNING, "%s; trying again in %.1f s", reason, pause)
            told = reason
            self._stop.wait(pause)

    def counters(self) -> SourceCounters:
        return self._counters

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self.stop()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]} px in {'grey' if len(shape) == 2 else 'colour'}"
