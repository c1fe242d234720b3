"""Watch the sensors in a thread, once a second, and remember when the machine was slowed down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from jetspect.device.sensors import Sample, Sensors

log = logging.getLogger(__name__)
INTERVAL_S = 1.0
_END_S = 2.0
_LASTS = 1.5  # intervals that a sample stands for; a sensor that hangs must not mark every frame from then on


@dataclass(frozen=True)
class DeviceState:
    """The last sample, and what happened since the start.

    Attributes
    ----------
    throttled_by
        What slows the machine now; ``over-current`` where a rail drew too much since the sample before.
    throttled_s
        How long it was slowed, counted in samples.
    """

    sample: Sample
    throttled_by: tuple[str, ...]
    throttled_s: float
    over_current_events: int


class DeviceMonitor:
    """Samples until :meth:`close`. Reading the state waits for no sensor.

    Parameters
    ----------
    sensors
        Closed with the monitor.
    """

    def __init__(
        self,
        sensors: Sensors | None = None,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sensors, self._interval_s, self._clock = sensors or Sensors(), interval_s, clock
        self._lock = threading.Lock()
        self._state: DeviceState | None = None
        self._slowed: tuple[float, str] | None = None  # when last, and why
        self._first_events: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jetspect-device", daemon=True)

    def start(self) -> DeviceMonitor:
        """Sample in the background from now on."""
        self._thread.start()
        return self

    def state(self) -> DeviceState | None:
        """Return what was sampled last; None before the first time."""
        with self._lock:
            return self._state

    def throttled_since(self, began: float) -> str:
        """Say what slowed the machine at any time since then (monotonic); empty where nothing did."""
        with self._lock:
            if self._slowed is None:
                return ""
            at, why = self._slowed
        return why if at >= began - _LASTS * self._interval_s else ""

    def sample(self) -> None:
        """Take one sample now."""
        sample = self._sensors.read()
        with self._lock:
            before = self._state
            if self._first_events is None:
                self._first_events = sample.over_current_events
            events = max(0, sample.over_current_events - self._first_events)
            causes = sample.slowed_by
            if before is not None and events > before.over_current_events:
                causes = (*causes, "over-current")
            slowed_s = (before.throttled_s if before else 0.0) + (self._interval_s if causes else 0.0)
            if causes:
                self._slowed = self._clock(), ", ".join(causes)
            self._state = DeviceState(sample, causes, slowed_s, events)
        if causes and not (before and before.throttled_by):
            log.warning(
                "the device is slowed down by %s: frames take longer; check cooling and power", ", ".join(causes)
            )
        elif before and before.throttled_by and not causes:
            log.warning("the device runs at full speed again")

    def close(self) -> None:
        """End the thread and close the sensors; may be called again."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=_END_S)
        if not self._thread.is_alive():  # a sensor that hangs keeps its file
            self._sensors.close()

    def __enter__(self) -> DeviceMonitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            self.sample()
            while not self._stop.wait(self._interval_s):
                self.sample()
        except Exception:
            # Numbers of the device are an extra: a station without them still inspects.
            log.exception("the device's sensors cannot be read; they are not looked at any more")
