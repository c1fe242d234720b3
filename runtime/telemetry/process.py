"""What this process takes of the machine. Both numbers creep up where something leaks."""

from __future__ import annotations

import errno
import os
import resource
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc/self")


@dataclass(frozen=True)
class ProcessState:
    """Memory and open files of a process; 0 where the machine does not tell."""

    rss_bytes: int = 0
    open_files: int = 0


def process_state(proc: Path = _PROC) -> ProcessState:
    """Read the resident memory and the number of open file descriptors. ``proc`` stands in for /proc/self in tests."""
    return ProcessState(rss_bytes=_rss_bytes(proc), open_files=_open_files(proc))


def _rss_bytes(proc: Path) -> int:
    try:
        pages = int((proc / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files(proc: Path) -> int:
    try:
        return sum(1 for _ in (proc / "fd").iterdir())  # one of them is the listing itself
    except OSError as error:
        # None is left to look with: then they are all in use.
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0] if error.errno == errno.EMFILE else 0
