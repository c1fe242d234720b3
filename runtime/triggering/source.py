"""Cameras and a trigger as one source: every trigger becomes one item of every camera, a frame or the news of its loss."""

from __future__ import annotations

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType

from jetspect.errors import InputError, JetspectError
from jetspect.runtime.frames import Frame, LostFrame, Shot, Source, SourceCounters, Triggerable, utc_now
from jetspect.runtime.triggering.dating import Dating
from jetspect.runtime.triggering.desk import Desk
from jetspect.runtime.triggering.settings import EncoderTrigger, FiredTrigger, TimerTrigger, TriggerKind
from jetspect.runtime.triggering.ticks import run_encoder, run_timer

log = logging.getLogger(__name__)
_AHEAD = 2  # frames of each camera that may be ready before they are taken
_MOST_READY = 10_000  # lost ones too: results are not being recorded then
_LOOK_S = 0.25


class TriggeredSource:
    """Delivers one item for each trigger and camera. Each view is read in a thread of its own.

    Parameters
    ----------
    views
        Cameras by name; the name of a single one may be empty.
    left_over
        Delivered first: what a station that was killed still owes.

    Raises
    ------
    JetspectError
        While iterating: what a camera raises that cannot go on.
    """

    def __init__(self, views: Mapping[str, Source], settings: TriggerKind, left_over: Iterable[LostFrame] = ()) -> None:
        self._views = dict(views)
        self._settings = settings
        # A machine without a clock of its own may start at the same time every morning.
        prefix = f"{utc_now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._desk = Desk(list(self._views), settings, prefix, left_over)
        self._dating = Dating()
        self._changed = threading.Condition()  # guards both
        self._stop = threading.Event()
        self._running = False
        self._refusing = False
        self._reading = 0
        self._failure: BaseException | None = None
        soft = isinstance(settings, FiredTrigger) and settings.fire == "software"
        self._to_fire = {name: queue.SimpleQueue[Shot | None]() for name in self._views if soft}

    def trigger(self, part_id: str | None = None, ago_s: float = 0.0) -> Shot:
        """Ask every camera for a frame of a part; without a name it gets the next shot of the open part, or is a new one.

        Callable from any thread, does not wait. Once it returns there will be a result for every camera. ``ago_s``: how long
        ago the part was there.

        Raises
        ------
        InputError
            The station is starting or stopping, or results are not being recorded.
        """
        with self._changed:
            if not self._running or self._stop.is_set():
                raise InputError(
                    "no triggers are taken now: the station starts or stops; send it again when it is online"
                )
            if len(self._desk.ready) >= _MOST_READY:
                raise InputError("no triggers are taken now: results cannot be recorded; see the station's alarms")
            first, to_fire = self._desk.trigger(
                part_id, utc_now() - timedelta(seconds=ago_s), self._dating.look() - ago_s
            )
            self._changed.notify_all()
        for shot in to_fire:
            if shot.view in self._to_fire:
                self._to_fire[shot.view].put(shot)
        return first

    def __iter__(self) -> Iterator[Frame | LostFrame]:
        threads = [_thread(f"view-{name}", self._read, name) for name in self._views]
        threads += [_thread(f"fire-{name}", self._fire, name) for name in self._to_fire]
        if isinstance(self._settings, TimerTrigger):
            threads.append(_thread("timer", run_timer, self._settings, self._tick, self._stop))
        if isinstance(self._settings, EncoderTrigger):
            threads.append(_thread("encoder", run_encoder, self._settings, self._tick, self._stop))
        self._reading, self._running = len(self._views), True
        for thread in threads:
            thread.start()
        try:
            while (item := self._next()) is not None:
                yield item
        finally:
            self.stop()
            for shots in self._to_fire.values():
                shots.put(None)
            for thread in threads:
                thread.join(timeout=30)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._stop.set()
        for source in self._views.values():
            source.stop()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        self.stop()
        for source in self._views.values():
            source.close()

    def counters(self) -> SourceCounters:
        """Return the sum over the cameras; connected where all are."""
        each = [source.counters() for source in self._views.values()]
        return SourceCounters(
            connected=all(c.connected for c in each),
            reconnects=sum(c.reconnects for c in each),
            missed=sum(c.missed for c in each),
            packets_missing=sum(c.packets_missing for c in each),
            packets_resent=sum(c.packets_resent for c in each),
            fault="; ".join(c.fault for c in each if c.fault),
            triggers=self._desk.counters(),
        )

    def __enter__(self) -> TriggeredSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _next(self) -> Frame | LostFrame | None:
        """Wait for the next item; None when nothing can come any more."""
        with self._changed:
            while not self._desk.ready:
                if self._reading == 0 or self._failure is not None:
                    self._stop.set()  # no trigger after this
                    failed = "a camera failed" if self._failure is not None else "the station stopped"
                    self._desk.give_up_all(f"{failed} before its frame came")
                    if not self._desk.ready:
                        return None
                else:
                    self._desk.expire(self._dating.look())
                    if not self._desk.ready:
                        self._changed.wait(self._wait_s())
            item = self._desk.ready.popleft()
            self._changed.notify_all()
            return item

    def _wait_s(self) -> float:
        at = self._desk.next_s()
        return _LOOK_S if at is None else max(0.001, min(_LOOK_S, at - time.monotonic()))

    # Each of these runs in a thread of its own.

    def _read(self, name: str) -> None:
        try:
            for item in self._views[name]:
                with self._changed:
                    self._desk.came(name, item, self._dating.monotonic(item.captured_at), time.monotonic())
                    self._changed.notify_all()
                    self._hold_back(name)
        except BaseException as error:  # raised by the iteration
            self._failure = self._failure or error
            for source in self._views.values():
                source.stop()
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    def _hold_back(self, name: str) -> None:
        """Wait until frames are taken: memory is bounded, and what gives way are the camera's own buffers."""
        held = False
        while self._full() and not self._stop.is_set():
            if not held:
                self._desk.held_back(name)
            held = True
            self._changed.wait()
        if held:
            self._desk.resumed(name, time.monotonic())

    def _full(self) -> bool:
        return self._desk.images() >= _AHEAD * len(self._views) or len(self._desk.ready) >= _MOST_READY

    def _fire(self, name: str) -> None:
        source = self._views[name]
        while (shot := self._to_fire[name].get()) is not None:
            with self._changed:
                wanted = self._desk.may_fire(shot, time.monotonic())
                self._changed.notify_all()
            if not wanted:
                continue
            fault = ""
            try:
                if not isinstance(source, Triggerable):
                    raise InputError("it takes no software trigger")
                source.fire()
            except Exception as error:  # the thread must outlive it: there are more triggers to come
                if not isinstance(error, JetspectError):
                    log.exception("the trigger did not reach the camera")
                fault = str(error) or type(error).__name__
            with self._changed:
                self._desk.fired(shot, time.monotonic(), fault)
                self._changed.notify_all()

    def _tick(self, ago_s: float = 0.0) -> None:
        try:
            self.trigger(ago_s=ago_s)
        except InputError as error:
            if not self._stop.is_set() and not self._refusing:  # once: there may be a thousand a second
                log.error("a trigger was not taken, nor may those after it be: %s", error)
            self._refusing = True
        else:
            self._refusing = False


def _thread(name: str, work: Callable[..., None], *arguments: object) -> threading.Thread:
    return threading.Thread(target=work, args=arguments, name=f"jetspect-{name}", daemon=True)
