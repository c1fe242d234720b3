from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jetspect.benchmarks.plant import GigeCamera
from jetspect.runtime.frames import Frame, LostFrame, Source
from jetspect.runtime.sources.aravis import AravisCamera

_RTSP_SERVER = Path(__file__).resolve().parents[2] / "helpers" / "rtsp_server.py"


@pytest.fixture
def camera() -> Iterator[GigeCamera]:
    """A camera that is not started yet. GigE Vision has one fixed port, so one test at a time has it."""
    with (Path(tempfile.gettempdir()) / "jetspect-tests-gige.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fake = GigeCamera("GV01")
        yield fake
        fake.kill()


@pytest.fixture
def told_otherwise(camera: GigeCamera, tmp_path: Path) -> Callable[[str, str], Path]:
    """Write the fake camera's description of itself with another text in place of one; it is for its option -g."""

    def write(before: str, now: str) -> Path:
        camera.start()
        held = AravisCamera(camera.ip)
        # Not get_genicam_xml, which reads past its end. The register says "Local:NAME;ADDRESS;LENGTH".
        where = _memory(held, 0x200, 512).split(b"\0")[0].decode().split(";")
        told = _memory(held, int(where[1], 16), int(where[2], 16)).decode()
        held.close()
        camera.kill()
        assert before in told
        path = tmp_path / "genicam.xml"
        path.write_text(told.replace(before, now))
        return path

    return write


def _memory(camera: AravisCamera, start: int, length: int) -> bytes:
    device = camera.handle.get_device()
    words = [device.read_register(at).to_bytes(4, "big") for at in range(start, start + length, 4)]
    return b"".join(words)[:length]


class Taker:
    """Takes frames of a source in a thread of its own."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.items: list[Frame | LostFrame] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self.source:
                self.items.append(item)
        except BaseException as error:
            self.error = error

    @property
    def frames(self) -> list[Frame]:
        return [i for i in self.items if isinstance(i, Frame)]

    @property
    def lost(self) -> list[LostFrame]:
        return [i for i in self.items if isinstance(i, LostFrame)]

    def wait(self, until: Callable[[], object], what: str, timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, f"{what} did not happen in {timeout_s:g} s"
            assert self.error is None, self.error
            time.sleep(0.01)

    def more(self, count: int) -> None:
        """Wait for so many more good frames."""
        target = len(self.frames) + count
        self.wait(lambda: len(self.frames) >= target, f"{count} more frames")

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> None:
        self.source.stop()
        self._thread.join(timeout=15)
        assert self.ended, "the source does not stop"
        self.source.close()


@pytest.fixture
def take() -> Iterator[Callable[[Source], Taker]]:
    takers: list[Taker] = []

    def make(source: Source) -> Taker:
        takers.append(Taker(source))
        return takers[-1]

    yield make
    for taker in takers:
        taker.end()


class RtspServer:
    """A real one on a free loopback port, which it keeps from one start to the next."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None

    def start(self, width: int = 160, height: int = 120) -> None:
        command = [sys.executable, _RTSP_SERVER, str(self.port), str(width), str(height)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def rtsp() -> Iterator[RtspServer]:
    server = RtspServer()
    yield server
    server.kill()
