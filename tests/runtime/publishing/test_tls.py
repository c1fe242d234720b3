"""TLS and mutual TLS against a real mosquitto, with certificates made for the test."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from delivery import TOPICS, commit, meta, publishing, wait_for
from pydantic import ValidationError

from jetspect.errors import PublishError
from jetspect.runtime.publishing.broker import BrokerSettings, TlsSettings
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox


@pytest.fixture
def plant(tmp_path: Path, mosquitto: Callable[..., Any]) -> tuple[Authority, Any]:
    authority = Authority(tmp_path, "plant-ca")
    cert, key = authority.issue("broker")
    return authority, mosquitto(listener=authority.listener(cert, key))


def deliver(tmp_path: Path, port: int, tls: dict[str, Path], seconds: float) -> tuple[int, str]:
    """Publish one result; return how many are left and the publisher's state."""
    settings = BrokerSettings.model_validate({"host": "127.0.0.1", "port": port, "tls": tls})
    with Outbox(tmp_path / "o.sqlite") as outbox:
        publisher = MqttPublisher(settings, outbox, TOPICS, meta)
        publisher.start()
        outbox.commit(TOPICS.result, lambda seq, event: b"{}")
        publisher.notify()
        left = publisher.flush(seconds)
        time.sleep(0.1)
        state = publisher.state
        publisher.close()
    return left, state


def test_a_station_with_the_plants_certificates_delivers(tmp_path: Path, plant: tuple[Authority, Any]) -> None:
    authority, broker = plant
    cert, key = authority.issue("station")
    assert deliver(tmp_path, broker.port, {"ca": authority.ca, "cert": cert, "key": key}, 10) == (0, "online")


def test_a_broker_of_another_authority_is_not_trusted(tmp_path: Path, plant: tuple[Authority, Any]) -> None:
    _, broker = plant
    other = Authority(tmp_path, "other-ca")
    cert, key = other.issue("stranger")
    state = waits_with(tmp_path, broker.port, {"ca": other.ca, "cert": cert, "key": key})
    assert "its certificate is not trusted: no CA in broker.tls.ca has signed it" in state


def test_a_station_without_its_certificate_keeps_its_results(tmp_path: Path, plant: tuple[Authority, Any]) -> None:
    authority, broker = plant
    state = waits_with(tmp_path, broker.port, {"ca": authority.ca})
    assert "closed the connection before the login; check broker.tls.cert and key" in state


def test_a_certificate_that_cannot_be_read_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    settings = BrokerSettings.model_validate({"tls": {"ca": tmp_path / "ca.pem"}})
    with Outbox(tmp_path / "o") as outbox, pytest.raises(PublishError, match=r"ca\.pem cannot be used"):
        MqttPublisher(settings, outbox, TOPICS, meta)


def waits_with(tmp_path: Path, port: int, tls: dict[str, object], host: str = "127.0.0.1") -> str:
    """Try to publish one result; return the state of a station that keeps it, once it says why."""
    with Outbox(tmp_path / "o.sqlite") as outbox, publishing(outbox, port, host=host, tls=tls) as publisher:
        commit(outbox)
        publisher.notify()
        wait_for(lambda: publisher.state != "connecting")
        assert publisher.flush(0) == 1
        return publisher.state


@pytest.mark.parametrize(
    ("issue", "says"),
    [
        ({"begins": -9, "days": -2}, r"not trusted: it has expired, or the clock is wrong \(.*clock says 20"),
        ({"begins": 2, "days": 9}, "not trusted: it is not valid yet, or the clock is wrong"),
        ({"address": "127.0.0.9"}, "not trusted: it is for another name than '127.0.0.1'; check broker.host"),
    ],
)
def test_what_is_wrong_with_a_brokers_certificate_is_said(
    tmp_path: Path, mosquitto: Callable[..., Any], issue: dict[str, Any], says: str
) -> None:
    authority = Authority(tmp_path, "plant-ca")
    broker = mosquitto(listener=authority.listener(*authority.issue("broker", **issue), lines=""))
    state = waits_with(tmp_path, broker.port, {"ca": authority.ca})
    assert re.match(rf"unreachable: broker 127.0.0.1:\d+: its certificate is {says}", state), state


def test_a_self_signed_certificate_counts_only_where_it_is_the_ca(
    tmp_path: Path, mosquitto: Callable[..., Any]
) -> None:
    authority, key, cert = Authority(tmp_path, "plant-ca"), tmp_path / "own.key", tmp_path / "own.crt"
    openssl = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=me -addext"
    words = [*openssl.split(), "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    broker = mosquitto(listener=f"certfile {cert}\nkeyfile {key}")
    assert "it is self-signed and not in broker.tls.ca" in waits_with(tmp_path, broker.port, {"ca": authority.ca})
    assert deliver(tmp_path, broker.port, {"ca": cert}, 10)[0] == 0


def test_a_broker_that_speaks_old_tls_only_is_refused_and_why_is_said(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant-ca")
    cert, key = authority.issue("broker")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"openssl s_server -accept 127.0.0.1:{port} -cert {cert} -key {key} -tls1_1 -cipher ALL:@SECLEVEL=0"
    with subprocess.Popen(command.split(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert any(line.startswith("ACCEPT") for line in server.stdout)
            state = waits_with(tmp_path, port, {"ca": authority.ca})
        finally:
            server.kill()
    assert state.endswith(
        "it speaks TLS 1.1 or older only; set its listener to TLS 1.2 or newer, nothing older is spoken here"
    )


def test_with_a_ca_those_of_the_system_do_not_count(
    tmp_path: Path, mosquitto: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, systems = Authority(tmp_path, "plant-ca"), Authority(tmp_path, "public-ca")
    monkeypatch.setenv("SSL_CERT_FILE", str(systems.ca))
    broker = mosquitto(listener=systems.listener(*systems.issue("broker"), lines=""))
    assert "no CA in broker.tls.ca has signed it" in waits_with(tmp_path, broker.port, {"ca": ours.ca})
    assert deliver(tmp_path, broker.port, {}, 10) == (0, "online")


class Listener:
    """A TLS server that notes what comes after the handshake."""

    def __init__(self, cert: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, args=(context,))
        self._thread.start()

    def _serve(self, context: ssl.SSLContext) -> None:
        with self._socket, self._socket.accept()[0] as plain:
            plain.settimeout(10)
            with context.wrap_socket(plain, server_side=True) as sock:
                self.heard.append(sock.recv(4096))

    def wait(self) -> bytes:
        self._thread.join(10)
        return self.heard[0]


def pin_of(cert: Path) -> str:
    key = x509.load_pem_x509_certificate(cert.read_bytes()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).digest()).decode()


def test_a_broker_with_another_key_than_the_pinned_one_gets_no_login(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant-ca")
    cert, key = authority.issue("broker")
    other, _ = authority.issue("other")
    for pins, heard in (([pin_of(other)], False), ([pin_of(other), pin_of(cert)], True)):
        listener = Listener(cert, key)
        tls = {"ca": authority.ca, "pin_sha256": pins}
        with (
            Outbox(tmp_path / "o.sqlite") as outbox,
            publishing(outbox, listener.port, username="me", password_file=key, tls=tls) as publisher,
        ):
            assert (b"me" in listener.wait()) == heard
            if not heard:
                wait_for(lambda: publisher.state.startswith("unreachable"))
                assert "its public key is not one of broker.tls.pin_sha256" in publisher.state
                assert pin_of(cert) in publisher.state


@pytest.mark.parametrize("pin", ["", "x" * 44, "AAAA", "ff" * 32])
def test_what_is_no_pin_is_refused(pin: str) -> None:
    with pytest.raises(ValidationError, match="a pin is the SHA-256 of a public key in base64"):
        TlsSettings(pin_sha256=(pin,))


def test_no_pins_are_refused_rather_than_taken_for_any() -> None:
    with pytest.raises(ValidationError, match="pin_sha256 is empty"):
        TlsSettings(pin_sha256=())
