"""Talk to systemd as sd_notify(3) does: datagrams on the socket that it names, nothing where it names none."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import MutableMapping
from types import TracebackType

log = logging.getLogger(__name__)
_MOST_STATUS = 1000  # characters; systemctl shows one line
_SEND_S = 1.0


class Notifier:
    """Sends ``READY=1``, ``STATUS=...``, ``WATCHDOG=1`` and ``STOPPING=1``. Thread-safe.

    A manager that cannot be reached is logged once and costs nothing else: frames count more than who hears of them.

    Parameters
    ----------
    address
        Of the socket: a path, or ``@name`` in the abstract namespace; empty: nobody listens.
    watchdog_s
        How long the manager waits for ``WATCHDOG=1`` before it restarts the station; None: for ever.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._lock = threading.Lock()
        self._complained = False
        self._socket: socket.socket | None = None
        if not address:
            return
        if not address.startswith(("/", "@")) or len(address) < 2:
            log.warning("NOTIFY_SOCKET is %r, neither a path nor @name: the manager hears nothing", address)
            return
        self._address = "\0" + address[1:] if address[0] == "@" else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_SEND_S)  # a manager that does not read must not hold up the station

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str] = os.environ) -> Notifier:
        """Take the socket out of the environment, so that no child of the station speaks for it."""
        address = environment.pop("NOTIFY_SOCKET", "")
        interval, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        for_us = not pid or pid == str(os.getpid())
        watched = bool(address) and for_us and interval.isdecimal() and int(interval) > 0
        return cls(address, int(interval) / 1e6 if watched else None)

    def __bool__(self) -> bool:
        return self._socket is not None

    def ready(self) -> None:
        self._send("READY=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def watchdog(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line what the station does; shown by ``systemctl status``."""
        self._send("STATUS=" + " ".join(text.split())[:_MOST_STATUS])

    def close(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket = None

    def __enter__(self) -> Notifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, text: str) -> None:
        with self._lock:
            if self._socket is None:
                return
            try:
                self._socket.sendto(text.encode("utf-8", "replace"), self._address)
            except (OSError, ValueError) as error:  # ValueError: a NUL in the path
                if not self._complained:
                    log.warning("the service manager cannot be told %s: %s", text.partition("=")[0], error)
                self._complained = True
            else:
                self._complained = False
