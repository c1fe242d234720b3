"""Shared by all tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Small networks spend their time waiting for threads on a busy machine; ONNX Runtime has its own setting.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test may depend on what a hub of model weights answers.
os.environ["HF_HUB_OFFLINE"] = "1"

# CI machines are shared: how long one example takes says nothing about the code.
hypothesis.settings.register_profile("jetspect", deadline=None)
hypothesis.settings.load_profile("jetspect")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a worker ended that should not have: a signal leaves no other trace."""
    if error:
        code = node.gateway._io.popen.wait(10)
        sys.stderr.write(f"\nworker {node.gateway.id} ended with {code} (negative: by that signal)\n")


class Mosquitto:
    """A real mosquitto on a free loopback port; it keeps its port and its store from one start to the next."""

    def __init__(
        self, folder: Path, lines: str = "allow_anonymous true", listener: str = "", persistent: bool = True
    ) -> None:
        path = os.environ["PATH"] + ":/usr/sbin"
        binary = shutil.which("mosquitto", path=path)
        assert binary is not None, "mosquitto is not installed; run: make system-test"
        self._binary = binary
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        folder.mkdir(parents=True, exist_ok=True)
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{listener}\n{lines}\n"
            f"user root\npersistence {str(persistent).lower()}\nautosave_on_changes true\nautosave_interval 1\n"
            f"persistence_location {folder}/\nmax_queued_messages 0\nlog_dest file {folder}/mosquitto.log\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Mosquitto:
        self._process = subprocess.Popen([self._binary, "-c", str(self._config)])
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._config.with_name("mosquitto.log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise AssertionError("mosquitto does not answer")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Make brokers; they are gone after the test."""
    brokers: list[Mosquitto] = []

    def make(lines: str = "allow_anonymous true", listener: str = "", persistent: bool = True) -> Mosquitto:
        brokers.append(Mosquitto(tmp_path / f"broker{len(brokers)}", lines, listener, persistent))
        return brokers[-1].start()

    yield make
    for broker in brokers:
        broker.kill()


class Page(HTMLParser):
    """What a test wants to know of an HTML page: its pictures, where it links to, its words, and those of each table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        if tag == "img":
            self.images.append(values["src"] or "")
        self.links += [v for k in ("href", "src", "xlink:href") if (v := values.get(k)) and not v.startswith("#")]

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())
            if self.rows:
                self.rows[-1].append(data.strip())


@pytest.fixture(scope="session")
def read_page() -> type[Page]:
    """Reads the text of an HTML page."""
    return Page
