"""What tests of the telemetry share: real parts without an inspector, a clock that stands, and a small HTTP client."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from delivery import ADDRESS, MODEL

from jetspect.runtime.publishing.keeping import Keeper
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.queueing import FrameQueue
from jetspect.runtime.sources import open_source
from jetspect.runtime.sources.synthetic import SyntheticSettings
from jetspect.runtime.telemetry.collect import Observed, Telemetry
from jetspect.runtime.telemetry.progress import Patience


class Clock:
    """Seconds that go on only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def observed(folder: Path) -> Iterator[Observed]:
    """A station's parts, without broker."""
    with Outbox(folder / "outbox.sqlite") as outbox, open_source(SyntheticSettings(frames=1)) as source:
        keeper = Keeper(outbox, None, keep_hours=1, max_mb=100)
        yield Observed(ADDRESS, MODEL, ("pit", "scratch"), source, FrameQueue(2, "block"), outbox, None, keeper)


@contextmanager
def telemetry(folder: Path, patience: Patience | None = None, clock: Clock | None = None) -> Iterator[Telemetry]:
    with observed(folder) as parts:
        yield Telemetry(parts, patience, clock or Clock())


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(port: int, path: str, method: str = "GET", timeout_s: float = 10) -> Answer:
    """Ask as curl would, one connection for one answer."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: station\r\n\r\n".encode())
        return read(connection)


def read(connection: socket.socket) -> Answer:
    """Read to the end of the connection."""
    data = b""
    while part := connection.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(first.split()[1]), {name.lower(): value for name, value in headers.items()}, body)
