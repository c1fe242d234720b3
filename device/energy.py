"""How much energy a piece of work takes, where the board measures its power."""

from __future__ import annotations

import threading
import time
from math import prod
from pathlib import Path
from types import TracebackType

from jetspect.device.files import ROOT, read_int
from jetspect.device.rails import find_rails, input_power_w

_INTERVAL_S = 0.1


class EnergyMeter:
    """Adds up the module's input power while work is done inside ``with``: ten samples a second, joined by straight lines.

    A machine without rails measures nothing: :attr:`joules` stays None.
    """

    def __init__(self, root: Path = ROOT, interval_s: float = _INTERVAL_S) -> None:
        self._rails, self._interval_s = find_rails(root), interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jetspect-energy", daemon=True)
        self._last: tuple[float, float] | None = None
        self.joules: float | None = None

    def per_megapixel(self, megapixels: float) -> float | None:
        """Return joules per megapixel of the frames that were inspected meanwhile; None without rails or frames."""
        return self.joules / megapixels if self.joules is not None and megapixels > 0 else None

    def __enter__(self) -> EnergyMeter:
        if self._rails:
            self._add()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rails:
            self._stop.set()
            self._thread.join()
            self._add()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._add()

    def _add(self) -> None:
        watts = self._watts()
        if watts is None:
            return
        now, before = time.monotonic(), self._last
        self._last = now, watts
        if before is not None:
            self.joules = (self.joules or 0.0) + (now - before[0]) * (watts + before[1]) / 2

    def _watts(self) -> float | None:
        found: dict[str, float] = {}
        for rail in self._rails:
            values = [read_int(path) for path in (rail.first, rail.second) if path is not None]
            numbers = [value for value in values if value is not None]
            if len(numbers) == len(values):
                found[rail.name] = prod(numbers) / rail.per_watt
        return input_power_w(found)
