"""Is this machine's clock right? Certificates, results and cameras all depend on it."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from jetspect.device.files import ROOT

_FLAG = "run/systemd/timesync/synchronized"
_UNSYNCED = 0x40  # STA_UNSYNC of <sys/timex.h>
_ERROR = 5  # TIME_ERROR
_SERVICES = {
    "systemd-timesyncd": "run/systemd/timesync",
    "chrony": "run/chrony",
    "ntpd": "run/ntpd.pid",
}


@dataclass(frozen=True)
class Clock:
    """The time, whether it is right (None: nothing tells), and the service that sets it (empty: none was found)."""

    now: datetime
    synchronised: bool | None
    service: str


def read_clock(root: Path = ROOT) -> Clock:
    """Ask the time service's files, then the kernel, which every service keeps informed."""
    service = next((name for name, path in _SERVICES.items() if (root / path).exists()), "")
    synchronised: bool | None = True if (root / _FLAG).exists() else None
    if synchronised is None:
        synchronised = _kernel_says() if root == ROOT else (False if service else None)
    return Clock(datetime.now(timezone.utc), synchronised, service)


class _Timex(ctypes.Structure):
    # The head of struct timex; the rest is room that the kernel fills.
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def _kernel_says() -> bool | None:
    """Read the kernel's clock state with adjtimex(2), modes 0: nothing is changed."""
    try:
        call = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    told = _Timex()
    state = call(ctypes.byref(told))
    if state < 0 or os.name != "posix":
        return None
    return state != _ERROR and not told.status & _UNSYNCED
