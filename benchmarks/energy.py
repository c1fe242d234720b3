"""Energy that the machine took, where it has meters: the input rail of a Jetson, or the counters of an x86 processor."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

ROOT = Path("/")
_SAMPLE_S = 0.02
_WHOLE_BOARD = ("VDD_IN", "POM_5V_IN")  # JetPack 5 and 6; Nano and TX2


class Meter(Protocol):
    """Counts joules from when it was opened."""

    def joules(self) -> float: ...

    def __enter__(self) -> Meter: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_meter(root: Path = ROOT) -> Meter | None:
    """Return what measures this machine's energy; None where it has nothing for it, or may not be read."""
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        for label in sorted(folder.glob("in*_label")):
            if _text(label) in _WHOLE_BOARD:
                number = label.name.removeprefix("in").removesuffix("_label")
                volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
                if _number(volts) is not None and _number(amperes) is not None:
                    return RailMeter(volts, amperes)
    packages = sorted((root / "sys/class/powercap").glob("intel-rapl:[0-9]"))
    readable = [p for p in packages if _number(p / "energy_uj") is not None]
    return CounterMeter(readable) if readable else None


class RailMeter:
    """Integrates the power of one rail (millivolts and milliamperes, as hwmon shows them), read in a thread of its own."""

    def __init__(self, volts: Path, amperes: Path) -> None:
        self._volts, self._amperes = volts, amperes
        self._joules, self._last_w, self._last_s = 0.0, self._watts() or 0.0, time.monotonic()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="jetspect-energy", daemon=True)
        self._thread.start()

    def joules(self) -> float:
        self._take()
        with self._lock:
            return self._joules

    def __enter__(self) -> RailMeter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SAMPLE_S):
            self._take()

    def _take(self) -> None:
        with self._lock:
            watts, now = self._watts(), time.monotonic()
            if watts is None:
                return  # one reading that failed: the next one bridges it
            self._joules += (self._last_w + watts) / 2 * (now - self._last_s)
            self._last_w, self._last_s = watts, now

    def _watts(self) -> float | None:
        volts, amperes = _number(self._volts), _number(self._amperes)
        return None if volts is None or amperes is None else volts * amperes / 1e6


class CounterMeter:
    """Reads counters of microjoules that begin again at their highest value; processor packages, without memory and board."""

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._last = [_number(p / "energy_uj") or 0 for p in packages]
        self._joules = 0.0

    def joules(self) -> float:
        """Must be called at least once in the time that a counter takes to come round (minutes)."""
        for index, package in enumerate(self._packages):
            now = _number(package / "energy_uj")
            if now is None:
                continue
            step = now - self._last[index]
            if step < 0:
                step += _number(package / "max_energy_range_uj") or 0
            self._joules += max(0, step) / 1e6
            self._last[index] = now
        return self._joules

    def __enter__(self) -> CounterMeter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("ascii", errors="replace").strip()
    return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.removeprefix("-").isdecimal() else None
