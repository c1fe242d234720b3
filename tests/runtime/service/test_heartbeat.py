"""When the watchdog is fed, and when systemd is left to restart the station."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import REPOSITORY, Done, jetspect
from telemetry_parts import Clock, observed

from jetspect.runtime.frames import SourceCounters
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.telemetry.collect import Telemetry
from jetspect.runtime.telemetry.progress import Patience


@dataclass
class Station:
    """A telemetry whose clock and source a test moves."""

    telemetry: Telemetry
    clock: Clock
    source: SourceCounters


@pytest.fixture
def station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Station]:
    clock, end = Clock(), threading.Event()
    thread = threading.Thread(target=end.wait, name="jetspect-inspect")
    thread.start()
    with observed(tmp_path) as parts:
        made = Station(Telemetry(parts, Patience(stuck_s=30.0, idle_s=60.0), clock), clock, SourceCounters())
        monkeypatch.setattr(parts.source, "counters", lambda: made.source)
        made.telemetry.started([thread])
        yield made
        end.set()
        thread.join()


def test_a_station_at_work_is_not_stuck(station: Station) -> None:
    assert station.telemetry.stuck() == ()


def test_silence_of_a_source_that_is_there_is_left_to_a_restart(station: Station) -> None:
    station.clock.now += 61
    assert [line.partition(":")[0] for line in station.telemetry.stuck()] == ["idle"]


def test_a_source_that_is_known_to_be_away_is_waited_for(station: Station) -> None:
    station.source = SourceCounters(connected=False, fault="unplugged")
    assert station.telemetry.not_ready() == ()
    station.clock.now += 61
    assert {line.partition(":")[0] for line in station.telemetry.not_ready()} == {"idle", "source"}
    assert station.telemetry.stuck() == ()


def test_an_outbox_that_refuses_is_left_to_a_restart_but_a_full_disk_is_waited_for(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    station.telemetry.events.not_recorded("outbox o cannot be written: read-only")
    assert [line.partition(":")[0] for line in station.telemetry.stuck()] == ["outbox"]
    monkeypatch.setattr(Outbox, "tight", True)
    assert station.telemetry.not_ready() != ()
    assert station.telemetry.stuck() == ()


class Manager:
    """A service manager: it hears, and stops the station when it has heard enough."""

    def __init__(self, folder: Path) -> None:
        self.heard: list[tuple[float, str]] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = str(folder / "notify")
        self.socket.bind(self.address)
        self.socket.settimeout(20)

    def until(self, wanted: Callable[[str], bool]) -> str:
        while True:
            word = self.socket.recv(8192).decode()
            self.heard.append((time.monotonic(), word))
            if wanted(word):
                return word

    def words(self) -> list[str]:
        return [word for _, word in self.heard]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made, before = Manager(tmp_path), {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    yield made
    made.socket.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_real_run_says_ready_is_fed_while_frames_move_and_starves_when_the_source_is_stuck(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A watched folder gives two frames, then none: with idle_s that is a fault, and only a restart is left."""
    import cv2

    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):
        cv2.imwrite(str(images / f"{number}.png"), render_part(number, (320, 240)).image)
    file = tmp_path / "station.toml"
    file.write_text(
        f"""
        [station]
        site = "s"
        area = "a"
        line = "l"
        unit = "u"
        [bundle]
        path = "{REPOSITORY}/bundles/metal-demo"
        [source]
        kind = "folder"
        path = "images"
        watch = true
        poll_s = 0.02
        [metrics]
        port = 0
        idle_s = 1
        """
    )
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    faults: list[BaseException] = []

    def watch() -> None:
        try:
            manager.until(lambda word: word == "WATCHDOG=1")
            manager.until(lambda word: word.startswith("STATUS=2 frames"))
            manager.until(lambda word: word.startswith("STATUS=not ready: idle"))
            manager.until(lambda word: word.startswith("STATUS=not ready: idle"))
            manager.until(lambda word: word.startswith("STATUS=not ready: idle"))
        except BaseException as error:
            faults.append(error)
        signal.raise_signal(signal.SIGTERM)

    watcher = threading.Thread(target=watch)
    watcher.start()
    done: Done = jetspect("run", file, "--json")
    watcher.join()
    assert not faults
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 2]
    words = manager.words()
    assert words[0].startswith("STATUS=opening")
    assert words.index("READY=1") < words.index("WATCHDOG=1")
    both = next(at for at, word in enumerate(words) if word.startswith("STATUS=2 frames"))
    starved = next(at for at, word in enumerate(words) if at > both and word.startswith("STATUS=not ready"))
    assert "WATCHDOG=1" in words[both:starved]
    assert "WATCHDOG=1" not in words[starved:]
    assert "starts the station anew" in caplog.text
    assert manager.until(lambda word: word == "STOPPING=1")


def once(tmp_path: Path) -> Path:
    """A station that ends after one frame."""
    file = tmp_path / "station.toml"
    file.write_text(
        f"""
        station = {{site = "s", area = "a", line = "l", unit = "u"}}
        bundle = {{path = "{REPOSITORY}/bundles/metal-demo"}}
        source = {{kind = "synthetic", size_wh = [64, 64], frames = 1}}
        """
    )
    return file


def test_a_run_that_ends_by_itself_says_so(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    assert jetspect("run", once(tmp_path)).returncode == 0
    manager.until(lambda word: word == "STOPPING=1")
    manager.until(lambda word: word.startswith("STATUS=ending; "))
    words = manager.words()
    assert words.index("READY=1") < words.index("STOPPING=1")


def test_check_tells_the_manager_nothing(tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    assert jetspect("run", once(tmp_path), "--check").returncode == 0
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.socket.recv(1)
