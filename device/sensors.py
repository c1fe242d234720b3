"""Read the sensors of a machine again and again: found once, each file kept open, one read per value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from jetspect.device.files import ROOT, entries, read_text, whole_number
from jetspect.device.rails import Rail, find_rails

# What slows a processor: its frequency limits, and the firmware's alerts on Orin. Fans, screens and skin alerts do not.
_SLOWS = re.compile(r"cpufreq|devfreq|throttle|^processor$", re.IGNORECASE)
_SIZE = 1024


@dataclass(frozen=True)
class Sample:
    """What the sensors say in one moment. Names are the kernel's own.

    Attributes
    ----------
    loads
        0 to 1, of ``cpu`` (all cores, since the sample before) and ``gpu``.
    slowed_by
        What holds the clocks down just now because of heat.
    over_current_events
        How often the hardware cut the clocks because a rail drew too much, since the boot.
    """

    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    power_w: Mapping[str, float] = field(default_factory=dict)
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)
    loads: Mapping[str, float] = field(default_factory=dict)
    fan_rpm: float | None = None
    memory_available_bytes: int = 0
    slowed_by: tuple[str, ...] = ()
    over_current_events: int = 0


class Kept:
    """A file that stays open; reads as None while its sensor sleeps."""

    def __init__(self, path: Path) -> None:
        self._fd: int | None = None
        with suppress(OSError):
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def text(self) -> str:
        if self._fd is None:
            return ""
        try:
            return os.pread(self._fd, _SIZE, 0).decode("ascii", "replace")
        except OSError:
            return ""

    def number(self) -> int | None:
        return whole_number(self.text())

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class Sensors:
    """The sensors of this machine; those that are missing are left out. ``root`` stands in for ``/`` in tests.

    Not thread-safe: one thread reads.
    """

    def __init__(self, root: Path = ROOT) -> None:
        thermal, hwmon = root / "sys/class/thermal", root / "sys/class/hwmon"
        self._zones = _named(
            (read_text(p / "type") or p.name, Kept(p / "temp")) for p in entries(thermal, "thermal_zone*")
        )
        self._slowing = _named(
            (kind, Kept(p / "cur_state"))
            for p in entries(thermal, "cooling_device*")
            if _SLOWS.search(kind := read_text(p / "type"))
        )
        self._rails: Mapping[str, tuple[Rail, Kept, Kept | None]] = {
            rail.name: (rail, Kept(rail.first), Kept(rail.second) if rail.second else None) for rail in find_rails(root)
        }
        self._clocks = {name: (Kept(path), per_mhz) for name, path, per_mhz in _clock_files(root)}
        self._gpu_load = next((Kept(p) for p in entries(root / "sys/class/devfreq", "*gpu*/device/load")), None)
        self._fan = next((Kept(p) for pattern in ("*/rpm", "*/fan1_input") for p in entries(hwmon, pattern)), None)
        self._over_current = [Kept(p) for p in entries(hwmon, "*/oc*_event_cnt")]
        self._cpu_throttled = Kept(root / "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count")
        self._throttled_before = self._cpu_throttled.number()
        self._stat, self._memory = Kept(root / "proc/stat"), Kept(root / "proc/meminfo")
        self._busy_before = self._cpu_times()

    def read(self) -> Sample:
        """Take one sample; a sensor that sleeps or went away is left out of it."""
        load = self._cpu_load()
        gpu = None if self._gpu_load is None else self._gpu_load.number()
        if gpu is not None:
            load["gpu"] = gpu / 1000
        return Sample(
            temperatures_c={n: t / 1000 for n, kept in self._zones.items() if (t := kept.number()) is not None},
            power_w={n: w for n, parts in self._rails.items() if (w := _power_w(*parts)) is not None},
            clocks_mhz={n: f / per for n, (kept, per) in self._clocks.items() if (f := kept.number()) is not None},
            loads=load,
            fan_rpm=None if self._fan is None else self._fan.number(),
            memory_available_bytes=self._available_bytes(),
            slowed_by=self._slowed_by(),
            over_current_events=sum(kept.number() or 0 for kept in self._over_current),
        )

    def close(self) -> None:
        """Close every file; may be called again."""
        rails = [kept for _, *parts in self._rails.values() for kept in parts if kept is not None]
        clocks = [kept for kept, _ in self._clocks.values()]
        single = [
            k for k in (self._gpu_load, self._fan, self._stat, self._memory, self._cpu_throttled) if k is not None
        ]
        for kept in (*self._zones.values(), *self._slowing.values(), *rails, *clocks, *self._over_current, *single):
            kept.close()

    def _slowed_by(self) -> tuple[str, ...]:
        found = [name for name, kept in self._slowing.items() if (kept.number() or 0) > 0]
        count = self._cpu_throttled.number()
        if count is not None and self._throttled_before is not None and count > self._throttled_before:
            found.append("processor")  # x86 counts instead of showing a state
        self._throttled_before = count
        return tuple(found)

    def _cpu_load(self) -> dict[str, float]:
        """Return the share of all cores' time that was not idle since the last call."""
        before, now = self._busy_before, self._cpu_times()
        self._busy_before = now
        if before is None or now is None or now[1] <= before[1]:
            return {}
        return {"cpu": min(1.0, max(0.0, (now[0] - before[0]) / (now[1] - before[1])))}

    def _cpu_times(self) -> tuple[int, int] | None:
        """Return busy and total time of all cores together; of the ten columns idle and iowait are not busy."""
        head = self._stat.text().partition("\n")[0].split()
        if len(head) < 6 or head[0] != "cpu" or not all(n.isdigit() for n in head[1:]):
            return None
        times = [int(n) for n in head[1:9]]  # guest time is part of user time
        return sum(times) - times[3] - times[4], sum(times)

    def _available_bytes(self) -> int:
        found = re.search(r"MemAvailable:\s+(\d+) kB", self._memory.text())
        return int(found[1]) * 1024 if found else 0


def _power_w(rail: Rail, first: Kept, second: Kept | None) -> float | None:
    a = first.number()
    if second is None:
        return None if a is None else a / rail.per_watt
    b = second.number()
    return None if a is None or b is None else a * b / rail.per_watt


def _clock_files(root: Path) -> Iterable[tuple[str, Path, float]]:
    """Yield each clock: its name, its file and how many of the file's units make a MHz."""
    yield "cpu", root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 1e3
    for path in entries(root / "sys/class/devfreq", "*gpu*/cur_freq"):
        yield "gpu-nvd" if "nvd" in path.parent.name else "gpu", path, 1e6
    yield "emc", root / "sys/kernel/debug/bpmp/debug/clk/emc/rate", 1e6  # root alone may look there


def _named(pairs: Iterable[tuple[str, Kept]]) -> dict[str, Kept]:
    """Give those of the same name numbers: a PC may have several zones called acpitz."""
    found: dict[str, Kept] = {}
    for name, kept in pairs:
        key, number = name, 2
        while key in found:
            key, number = f"{name}-{number}", number + 1
        found[key] = kept
    return found
