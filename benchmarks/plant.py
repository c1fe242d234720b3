"""The real parts around a station, as processes that can be killed, paused and started again: broker, camera, station."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jetspect.benchmarks.process_memory import open_files, resident_mb
from jetspect.errors import MissingDependencyError, PublishError

EVERY_CHANGE = "persistence true\nautosave_interval 1\nautosave_on_changes true"
AT_ITS_END = "persistence true"
NOTHING = "persistence false"
_SYSTEM = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


class Part:
    """One process. ``command`` may be given further options at a start; what it prints goes to ``log``.

    Raises
    ------
    MissingDependencyError
        The program is not installed.
    """

    name = "part"
    package = ""

    def __init__(self, command: list[str], *, log: Path | None = None) -> None:
        found = shutil.which(command[0], path=_SYSTEM)
        if found is None:
            raise MissingDependencyError(command[0], f"running a {self.name}", f"apt-get install {self.package}")
        self._command = [found, *command[1:]]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        PublishError
            It ends, or does not answer in 15 s.
        """
        output = subprocess.DEVNULL if self._log is None else self._log.open("ab")
        try:
            self._process = subprocess.Popen([*self._command, *options], stdout=output, stderr=output)
        finally:
            if not isinstance(output, int):
                output.close()
        wait_until(lambda: not self.alive or self.answers(), 15, f"the {self.name} does not answer")
        if not self.alive:
            where = "" if self._log is None else f"; {self._log} says why"
            raise PublishError(
                f"the {self.name} ended with exit code {self._process.wait()} when it was started{where}"
            )

    def answers(self) -> bool:
        return self.alive

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return -1 if self._process is None else self._process.pid

    def kill(self) -> None:
        """End it as a power cut does."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def pause(self) -> None:
        """Let it hang: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def end(self, timeout_s: float = 60) -> int:
        """Ask it to end; return its exit code, negative where it had to be killed."""
        if self._process is None:
            return 0
        self.go_on()
        self._signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def _signal(self, number: int) -> None:
        if self.alive:
            os.kill(self.pid, number)


class Mosquitto(Part):
    """A mosquitto on a free loopback port; it keeps port and store from one start to the next.

    ``lines`` and ``listener`` are of its configuration, the latter about the port; ``store`` says what survives a kill.
    """

    name, package = "broker", "mosquitto"

    def __init__(
        self,
        folder: Path,
        lines: str = "allow_anonymous true",
        *,
        listener: str = "",
        store: str = EVERY_CHANGE,
        log: Path | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\n{listener}\n{lines}\nuser root\nmax_queued_messages 0\n"
            f"{store}\npersistence_location {folder}/\nlog_dest {'none' if log is None else 'stderr'}\n"
        )
        super().__init__(["mosquitto", "-c", str(config)], log=log)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class GigeCamera(Part):
    """Aravis' GigE Vision camera on loopback. GigE Vision has one fixed port, so there is one on a machine."""

    name, package = "camera", "aravis-tools"
    ip = "127.0.0.1"

    def __init__(self, serial: str) -> None:
        super().__init__(["arv-fake-gv-camera-0.8", "-i", self.ip, "-s", serial])

    def answers(self) -> bool:
        # Read the register of the control privilege; whatever it answers, it is there.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.1)
            probe.sendto(bytes.fromhex("420100800004000100000a00"), (self.ip, 3956))
            try:
                return bool(probe.recv(64))
            except OSError:
                return False


class StationProcess(Part):
    """``jetspect run``; what it prints goes to a file."""

    name = "station"

    def __init__(self, station_file: Path, log: Path) -> None:
        super().__init__([sys.executable, "-m", "jetspect", "run", str(station_file), "--json"], log=log)

    def usage(self) -> tuple[float, int]:
        """Return its resident memory in MB, and how many files it has open."""
        return resident_mb(self.pid), open_files(self.pid)


def wait_until(what: Callable[[], object], seconds: float, else_say: str) -> None:
    """Wait for something to become true. Raises PublishError with ``else_say`` where it does not."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise PublishError(f"{else_say} within {seconds:.0f} s; check the load of this machine")
        time.sleep(0.02)
