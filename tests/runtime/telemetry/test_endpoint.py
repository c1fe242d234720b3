"""The endpoint answers who asks, and no client can take it away from the others."""

from __future__ import annotations

import dataclasses
import gc
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from delivery import wait_for
from telemetry_parts import Clock, ask, observed, read

from jetspect.errors import ConfigError
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.sources.video import VideoSettings, VideoSource
from jetspect.runtime.telemetry import endpoint as module
from jetspect.runtime.telemetry.collect import Telemetry
from jetspect.runtime.telemetry.endpoint import MetricsEndpoint
from jetspect.runtime.telemetry.process import process_state
from jetspect.runtime.telemetry.progress import Patience
from jetspect.runtime.telemetry.settings import MetricsSettings

ANY_PORT = MetricsSettings(port=0)
HALF = b"GET /metrics HTT"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def telemetry(tmp_path: Path, clock: Clock) -> Iterator[Telemetry]:
    with observed(tmp_path) as parts:
        yield Telemetry(parts, Patience(stuck_s=30.0), clock)


@pytest.fixture
def port(telemetry: Telemetry) -> Iterator[int]:
    with MetricsEndpoint(ANY_PORT, telemetry) as endpoint:
        yield endpoint.port


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an endpoint for tests that change nothing."""
    with observed(tmp_path_factory.mktemp("shared")) as parts, MetricsEndpoint(ANY_PORT, Telemetry(parts)) as endpoint:
        yield endpoint.port


@pytest.fixture
def running(telemetry: Telemetry) -> Iterator[None]:
    """A station whose threads are alive."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="jetspect-inspect")
    thread.start()
    telemetry.started([thread])
    yield
    end.set()
    thread.join()


@pytest.fixture
def hold(port: int) -> Iterator[Callable[[bytes], socket.socket]]:
    """Open connections that send something and then only hold on."""
    with ExitStack() as opened:

        def connect(data: bytes) -> socket.socket:
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            connection.sendall(data)
            return connection

        yield connect


def answering() -> int:
    return sum(thread.name == "jetspect-metrics-answer" for thread in threading.enumerate())


def test_a_scrape_gets_the_numbers_in_the_format_of_every_prometheus(shared: int) -> None:
    answer = ask(shared, "/metrics?name[]=x")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert b'jetspect_frames_total{unit="u"} 0.0\n' in answer.body
    assert answer.headers["server"] == "jetspect"


def test_head_is_get_without_the_body(shared: int) -> None:
    head = ask(shared, "/metrics", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert int(head.headers["content-length"]) > 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"])
def test_nothing_can_be_sent(shared: int, method: str) -> None:
    answer = ask(shared, "/metrics", method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/../../etc/passwd", "/%6detrics", "http://x/metrics"])
def test_there_is_nothing_else_to_see(shared: int, path: str) -> None:
    assert ask(shared, path).status == 404


def test_the_health_check_says_what_is_wrong(
    port: int, telemetry: Telemetry, running: None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (ask(port, "/healthz").status, ask(port, "/healthz").body) == (200, b"ok\n")
    telemetry.events.not_recorded("outbox o cannot grow\u2028\udcff; free space on its disk")
    monkeypatch.setattr(Outbox, "tight", True)
    answer = ask(port, "/healthz")
    assert answer.status == 503
    lines = answer.body.decode().splitlines()
    assert lines[0].startswith("outbox: outbox o cannot grow")
    assert lines[-1] == "disk_full: the outbox's disk is full; free space on it"


def test_a_thread_that_ended_is_named(port: int, telemetry: Telemetry) -> None:
    gone = threading.Thread(target=int, name="jetspect-record")
    gone.start()
    gone.join()
    telemetry.started([gone])
    assert ask(port, "/healthz").body == b"not_running: thread jetspect-record has ended\n"


def test_a_source_may_be_away_for_a_while_and_no_longer(tmp_path: Path, clock: Clock) -> None:
    with observed(tmp_path) as parts:
        away = VideoSource(VideoSettings(device="rtsp://127.0.0.1:1/none"))  # not connected until somebody iterates it
        made = Telemetry(dataclasses.replace(parts, source=away), Patience(stuck_s=30.0), clock)
        made.started([threading.current_thread()])
        assert made.not_ready() == ()
        clock.now += 31
        assert made.not_ready() == ("source: not connected for 31 s: check its power and cable; the log says more",)


@pytest.mark.parametrize(
    "junk",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),  # TLS
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET " + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"BREW /metrics HTTP/1.1\r\n\r\n",
        b"GET /metrics\r\n",
    ],
)
def test_junk_does_no_harm(shared: int, junk: bytes) -> None:
    with socket.create_connection(("127.0.0.1", shared), 10) as connection:
        connection.sendall(junk)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert ask(shared, "/metrics").status == 200


def test_many_half_open_connections_keep_nobody_out_and_leave_nothing_behind(
    port: int, hold: Callable[[bytes], socket.socket]
) -> None:
    gc.collect()  # the garbage of other tests must not close files meanwhile
    files, held = process_state().open_files, []
    for n in range(300):
        held.append(hold(HALF if n % 2 else b""))
        if n % 100 == 99:
            assert ask(port, "/metrics").status == 200
            assert answering() <= module._MOST_THREADS
    for connection in held:
        connection.close()
    wait_for(lambda: answering() == 0)
    assert process_state().open_files == files


def test_a_client_that_sends_slowly_is_cut_off(
    port: int, hold: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A byte now and then keeps no connection: all of it has its time, not each byte."""
    monkeypatch.setattr(module, "_WHOLE_S", 0.3)
    slow = hold(HALF)
    slow.settimeout(0.05)
    began = time.monotonic()
    while time.monotonic() - began < 5:
        try:
            slow.sendall(b"P")
            if slow.recv(1) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    assert 0.2 < time.monotonic() - began < 4


def test_a_client_that_resets_its_connection_in_the_middle_of_the_answer_is_no_error(
    port: int, hold: Callable[[bytes], socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        rude = hold(b"GET /metrics HTTP/1.1\r\n\r\n")
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.close()
    wait_for(lambda: answering() == 0)
    assert ask(port, "/metrics").status == 200
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_machine_without_threads_to_give_keeps_no_connection(
    port: int, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    files = process_state().open_files
    with monkeypatch.context() as exhausted:
        exhausted.setattr(threading.Thread, "start", refuse)
        assert [_status(port, "/healthz") for _ in range(40)] == [0] * 40
    assert ask(port, "/healthz").status == 503
    wait_for(lambda: process_state().open_files == files)


def test_a_disk_that_does_not_answer_is_said_and_does_not_hold_the_health_check(
    port: int, telemetry: Telemetry, running: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WHOLE_S", 0.6)
    outbox = telemetry._parts.outbox
    answers: list[int] = []
    with outbox._file.lock:  # as a write that hangs
        first = threading.Thread(target=lambda: answers.append(_status(port, "/metrics")))
        first.start()
        wait_for(lambda: answering() == 1)
        assert ask(port, "/healthz").status == 200
        assert _status(port, "/metrics") == 503
    first.join(timeout=10)
    assert _status(port, "/metrics") == 200


def _status(port: int, path: str) -> int:
    try:
        return ask(port, path).status
    except (IndexError, OSError):  # cut off
        return 0


def test_an_outbox_that_cannot_be_read_keeps_its_last_numbers_and_raises_an_alarm(
    port: int, telemetry: Telemetry
) -> None:
    outbox = telemetry._parts.outbox
    outbox.commit("t", lambda seq, event: b"{}")
    assert telemetry.snapshot().outbox.pending == 1
    outbox.close()
    body = ask(port, "/metrics").body
    assert b'jetspect_outbox_pending{unit="u"} 1.0' in body
    assert b'jetspect_alarms{kind="outbox_unreadable",unit="u"} 1.0' in body


def test_numbers_that_cannot_be_made_are_an_error_of_that_scrape_alone(
    port: int, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(module, "exposition", lambda snapshot: 1 / 0)
        assert ask(port, "/metrics").status == 500
    assert "ZeroDivisionError" in caplog.text
    assert ask(port, "/metrics").status == 200


def test_scrapes_at_the_same_time_ask_the_outbox_once(
    port: int, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, depth = [], Outbox.depth

    def count(self: Outbox) -> int:
        asked.append(1)
        return depth(self)

    monkeypatch.setattr(Outbox, "depth", count)
    threads = [threading.Thread(target=ask, args=(port, "/metrics")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1


def test_a_port_in_use_is_named_and_a_closed_endpoint_gives_it_back(telemetry: Telemetry) -> None:
    before = set(threading.enumerate())
    with MetricsEndpoint(ANY_PORT, telemetry) as first:
        with pytest.raises(ConfigError, match=f"port {first.port} cannot be used: Address already in use"):
            MetricsEndpoint(MetricsSettings(port=first.port), telemetry)
        held = socket.create_connection(("127.0.0.1", first.port))
        held.sendall(HALF)
    with closing(held), suppress(ConnectionResetError):
        assert held.recv(1) == b""
    first.close()
    with pytest.raises(ConnectionRefusedError):
        ask(first.port, "/healthz")
    with MetricsEndpoint(MetricsSettings(port=first.port), telemetry):
        pass
    wait_for(lambda: set(threading.enumerate()) <= before)


def test_ipv6_is_an_address_too(telemetry: Telemetry) -> None:
    with (
        MetricsEndpoint(MetricsSettings(address="::1", port=0), telemetry) as endpoint,
        socket.create_connection(("::1", endpoint.port), 10) as connection,
    ):
        assert endpoint.url == f"http://[::1]:{endpoint.port}"
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert read(connection).status == 503


def test_an_address_of_another_machine_cannot_be_listened_on(telemetry: Telemetry) -> None:
    with pytest.raises(ConfigError, match=r"address 192\.0\.2\.1, port 9464 cannot be used"):
        MetricsEndpoint(MetricsSettings(address="192.0.2.1"), telemetry)


@pytest.mark.parametrize("wrong", [{"address": "localhost"}, {"port": 65536}, {"port": -1}, {"idle_s": 0}, {"x": 1}])
def test_a_wrong_setting_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse_settings(wrong, MetricsSettings, where="station.toml")
