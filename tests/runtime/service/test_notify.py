"""What systemd hears of a station, on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetspect.runtime.service.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The socket of a service manager, and what NOTIFY_SOCKET says of it."""
    name = f"jetspect-test-{os.getpid()}"
    bound, told = (f"\0{name}", f"@{name}") if request.param == "abstract" else (str(tmp_path / "n"),) * 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(bound)
        heard.settimeout(10)
        yield told, heard


def test_every_word_is_one_datagram(manager: tuple[str, socket.socket]) -> None:
    address, heard = manager
    with Notifier(address) as notifier:
        notifier.ready()
        notifier.status("two\nlines\udcff " + "x" * 5000)
        notifier.watchdog()
        notifier.stopping()
    assert heard.recv(8192) == b"READY=1"
    status = heard.recv(8192)
    assert status.startswith(b"STATUS=two lines? xxx")
    assert len(status) < 1100
    assert (heard.recv(8192), heard.recv(8192)) == (b"WATCHDOG=1", b"STOPPING=1")


def test_the_environment_is_read_once_and_left_to_no_child() -> None:
    environment = {"NOTIFY_SOCKET": "/run/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    with Notifier.from_environment(environment) as notifier:
        assert notifier
        assert notifier.watchdog_s == 3.0
    assert environment == {"A": "b"}


@pytest.mark.parametrize(
    "said",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}],
)
def test_a_watchdog_that_is_not_ours_is_none(said: dict[str, str]) -> None:
    with Notifier.from_environment({"NOTIFY_SOCKET": "@n", **said}) as notifier:
        assert notifier.watchdog_s is None


def test_without_a_manager_nothing_is_said() -> None:
    with Notifier.from_environment({"WATCHDOG_USEC": "3000000"}) as notifier:
        notifier.ready()
        assert not notifier
        assert notifier.watchdog_s is None


@pytest.mark.parametrize("address", ["vsock:2:1234", "@", "relative/path"])
def test_an_address_of_another_kind_is_named_and_costs_nothing(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with Notifier(address) as notifier:
        notifier.ready()
    assert address in caplog.text


@pytest.mark.parametrize("address", ["/nowhere/n", "/" + "n" * 200, "/n\0n"])
def test_a_manager_that_is_gone_is_complained_of_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    with Notifier(address) as notifier:
        notifier.ready()
        notifier.watchdog()
    notifier.watchdog()
    assert caplog.text.count("cannot be told") == 1
