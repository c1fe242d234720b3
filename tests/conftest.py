"""Shared by all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from jetspect.benchmarks.plant import EVERY_CHANGE, NOTHING, Mosquitto

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


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Make brokers; they are gone after the test."""
    brokers: list[Mosquitto] = []

    def make(lines: str = "allow_anonymous true", listener: str = "", persistent: bool = True) -> Mosquitto:
        folder = tmp_path / f"broker{len(brokers)}"
        folder.mkdir()
        store = EVERY_CHANGE if persistent else NOTHING
        brokers.append(Mosquitto(folder, lines, listener=listener, store=store, log=folder / "mosquitto.log"))
        brokers[-1].start()
        return brokers[-1]

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
