"""TLS and mutual TLS against a real mosquitto, with certificates made for the test."""

from __future__ import annotations

import datetime
import ipaddress
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jetspect.errors import PublishError
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.messages import MetaMessage, ModelInfo, StationAddress
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.topics import Topics

TOPICS = Topics("jetspect", "s", "a", "l", "u")


def meta() -> MetaMessage:
    model = ModelInfo(name="m", version="1", manifest_sha256="0" * 64, precision="fp32", engine="test")
    address = StationAddress(namespace="jetspect", site="s", area="a", line="l", unit="u")
    return MetaMessage(
        station=address, at=utc_now(), jetspect="0", model=model, classes=("pit",), tile_px=1, device={}, golden=""
    )


class Authority:
    """A certificate authority that writes PEM files into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._sign(self._name, self._key.public_key(), authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        cert_path, key_path = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert_path.write_bytes(self._sign(subject, key.public_key(), authority=False))
        pem = serialization.Encoding.PEM
        plain = serialization.NoEncryption()
        key_path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
        return cert_path, key_path

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(address, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def plant(tmp_path: Path, mosquitto: Callable[..., Any]) -> tuple[Authority, Any]:
    authority = Authority(tmp_path, "plant-ca")
    cert, key = authority.issue("broker")
    listener = f"cafile {authority.ca}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true"
    return authority, mosquitto(listener=listener)


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


# paho leaves the socket of a failed handshake to the garbage collector, which closes it with a ResourceWarning.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_of_another_authority_is_not_trusted(tmp_path: Path, plant: tuple[Authority, Any]) -> None:
    _, broker = plant
    other = Authority(tmp_path, "other-ca")
    cert, key = other.issue("stranger")
    left, state = deliver(tmp_path, broker.port, {"ca": other.ca, "cert": cert, "key": key}, 2)
    assert left == 1
    assert "certificate is not trusted" in state


def test_a_station_without_its_certificate_keeps_its_results(tmp_path: Path, plant: tuple[Authority, Any]) -> None:
    authority, broker = plant
    left, state = deliver(tmp_path, broker.port, {"ca": authority.ca}, 2)
    assert left == 1
    assert state != "online"


def test_a_certificate_that_cannot_be_read_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    settings = BrokerSettings.model_validate({"tls": {"ca": tmp_path / "ca.pem"}})
    with Outbox(tmp_path / "o") as outbox, pytest.raises(PublishError, match=r"ca\.pem cannot be used"):
        MqttPublisher(settings, outbox, TOPICS, meta)
