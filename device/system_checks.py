"""What can be said of a machine without a station: clock, disks, memory, power mode, heat."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from jetspect.device.files import ROOT
from jetspect.device.findings import Finding, fail, ok, skipped, warn
from jetspect.device.info import DeviceInfo
from jetspect.device.storage import Space
from jetspect.device.thermal import read_zones

_BUILT = datetime(2025, 1, 1, tzinfo=timezone.utc)  # no device runs this before
_PYTHON = ((3, 10), (3, 12))
_LOW_MB, _FULL_MB = 2048, 128
_WORN_PERCENT = 80
_HEAD_ROOM_C = 10.0
_BUILD_MB = 2048  # a TensorRT build holds graph, timings and kernels beside its scratch memory


def check_python(info: DeviceInfo) -> Finding:
    """Newer ones may lack wheels for this architecture, older ones cannot run jetspect."""
    version = info.software.python.version
    minor = tuple(int(part) for part in version.split(".")[:2])
    if minor > _PYTHON[1]:
        return warn(f"Python {version} is newer than what jetspect is tested with (3.10 to 3.12)")
    return ok(f"Python {version}")


def check_clock(info: DeviceInfo) -> Finding:
    clock = info.clock
    now = f"{clock.now:%Y-%m-%d %H:%M} UTC"
    if clock.now < _BUILT:
        return fail(
            f"the clock says {now}: no certificate is valid then, and results get wrong times",
            "sudo timedatectl set-ntp true   # or, without a time server: sudo timedatectl set-time 'YYYY-MM-DD HH:MM:SS'",
        )
    if clock.synchronised is None:
        return skipped("nothing on this machine tells whether its clock is synchronised")
    if not clock.synchronised:
        return warn(
            f"the clock ({now}) is not synchronised", "sudo timedatectl set-ntp true && timedatectl timesync-status"
        )
    return ok(f"{now}, synchronised" + (f" by {clock.service}" if clock.service else ""))


def check_space(room: Space | None, where: str, needed_mb: int = _LOW_MB) -> Finding:
    """``needed_mb``: what may still be written there."""
    if room is None:
        return skipped(f"the room on {where} cannot be told")
    told = f"{room.free_mb} MiB free on {where}"
    if room.free_mb < _FULL_MB:
        return fail(f"only {told}: results cannot be kept", _free(where))
    if room.free_mb < needed_mb:
        return warn(f"{told}, up to {needed_mb} MiB may be needed", _free(where))
    return ok(told)


def check_wear(info: DeviceInfo) -> Finding:
    told = [d for d in info.disks if d.worn_percent is not None]
    if not told:
        return skipped("no disk shows its wear in sysfs; for NVMe: sudo nvme smart-log /dev/nvme0")
    worst = max(told, key=lambda d: d.worn_percent or 0)
    words = f"{worst.name} has used up to {worst.worn_percent} % of its life"
    words += f", spare blocks: {worst.pre_eol}" if worst.pre_eol else ""
    if (worst.worn_percent or 0) >= _WORN_PERCENT or worst.pre_eol in ("warning", "urgent"):
        return warn(f"{words}; plan its replacement, and move outbox and evidence to another disk")
    return ok(words)


def check_power_mode(info: DeviceInfo) -> Finding:
    power = info.power
    if not power.modes:
        return skipped("this machine has no nvpmodel")
    fastest, current = power.fastest, power.current
    if current is None or fastest is None:
        return warn("nvpmodel has not told its mode", "sudo nvpmodel -q")
    if current != fastest:
        change = f"sudo jetspect device power set {fastest.name}"
        return warn(f"power mode {current.name}, {fastest.name} is faster", change)
    return ok(f"power mode {current.name}, the fastest")


def check_heat(root: Path = ROOT) -> Finding:
    """Compare every zone with the temperature at which it slows the machine down."""
    zones = [(room, zone) for zone in read_zones(root) if (room := zone.head_room_c) is not None]
    if not zones:
        return skipped("no thermal zone tells at which temperature it throttles")
    room, zone = min(zones, key=lambda z: z[0])
    told = f"{zone.name} has {zone.temp_c:.0f} °C and throttles at {zone.throttles_at_c:.0f} °C"
    if room <= 0:
        return warn(f"{told}: the machine is slowed down now; cool it (fan, heat sink, air) before it inspects")
    if room < _HEAD_ROOM_C:
        return warn(
            f"{told}: less than {_HEAD_ROOM_C:.0f} °C of head-room; check fan and air, or take a lower power mode"
        )
    return ok(told)


def check_build_memory(info: DeviceInfo) -> Finding:
    """On a Jetson processor and GPU share the memory, and a desktop takes more than a GiB of it."""
    memory = info.memory
    if not memory.total_mb:
        return skipped("this machine does not tell its memory")
    told = f"{memory.available_mb} of {memory.total_mb} MiB are available"
    if memory.available_mb < _BUILD_MB:
        swap = "" if memory.swap_total_mb else "; there is no swap either"
        return warn(
            f"{told}, building an engine may need {_BUILD_MB}{swap}",
            "sudo systemctl isolate multi-user.target   # ends the desktop until the next boot",
        )
    return ok(told)


def _free(where: str) -> str:
    return f"sudo du -xh --max-depth=2 {where} | sort -h | tail   # then delete, or put the file on a larger disk"
