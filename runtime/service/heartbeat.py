"""Feed systemd's watchdog for as long as a restart could make nothing better, and say what the station does."""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from jetspect.runtime.results import Verdict
from jetspect.runtime.service.notify import Notifier
from jetspect.runtime.telemetry.collect import Telemetry

log = logging.getLogger(__name__)
_LONGEST_S, _SHORTEST_S = 5.0, 0.05  # between two status lines


class Heartbeat:
    """From entering to leaving tells the manager how the station is, in a thread of its own.

    ``READY=1`` goes out when the station's threads run. ``WATCHDOG=1`` goes out while :meth:`Telemetry.stuck` finds nothing; so
    the judgement is that of ``/healthz``, less what is waited for. After :meth:`stopping` it goes out in any case: how long
    results may take to leave is the stop timeout's to judge.
    """

    def __init__(self, notifier: Notifier, telemetry: Telemetry) -> None:
        self._notifier, self._telemetry = notifier, telemetry
        watchdog_s = notifier.watchdog_s
        # Three beats in the time that the manager waits, so that one late beat kills nothing.
        self._every_s = _LONGEST_S if watchdog_s is None else max(_SHORTEST_S, min(_LONGEST_S, watchdog_s / 3))
        self._stopping, self._end, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._said_stopping = False
        self._stuck: tuple[str, ...] = ()
        self._thread = threading.Thread(target=self._run, name="jetspect-service", daemon=True)

    def stopping(self) -> None:
        """The station was asked to end. Callable more than once, and from a signal handler: it only sets events."""
        self._stopping.set()
        self._telemetry.running.set()  # asked to end before it ran
        self._wake.set()

    def __enter__(self) -> Heartbeat:
        if self._notifier:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self.stopping()
        if self._notifier:
            self._thread.join()

    def _run(self) -> None:
        self._telemetry.running.wait()
        if not self._stopping.is_set():
            self._notifier.ready()
        while True:
            self._beat()
            if self._end.is_set():
                return
            self._wake.wait(self._every_s)
            self._wake.clear()

    def _beat(self) -> None:
        # A thread of the station that ended, ends the station: from there on the manager's stop timeout counts.
        if self._stopping.is_set() or self._telemetry.ended():
            if not self._said_stopping:
                self._notifier.stopping()
                self._notifier.status(f"ending; {_counts(self._telemetry)}")
            self._said_stopping = True
            self._notifier.watchdog()
            return
        stuck = self._telemetry.stuck()
        if stuck and not self._stuck and self._notifier.watchdog_s is not None:
            log.error(
                "%s; if that lasts, the service manager starts the station anew in %.0f s",
                "; ".join(stuck),
                self._notifier.watchdog_s,
            )
        self._stuck = stuck
        waits = "; ".join(self._telemetry.not_ready())
        self._notifier.status(f"not ready: {waits}" if waits else _counts(self._telemetry))
        if not stuck:
            self._notifier.watchdog()


def _counts(telemetry: Telemetry) -> str:
    verdicts = telemetry.events.counters.verdicts
    return f"{sum(verdicts.values())} frames: " + ", ".join(f"{verdicts[each]} {each.value}" for each in Verdict)
