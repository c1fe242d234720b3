"""What is read from certificates, against what cryptography reads."""

from __future__ import annotations

import base64
import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID

from jetspect.runtime.publishing.certificate import Certificate

UTC = datetime.timezone.utc
KEYS = {
    "ec": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}


def made(key: CertificateIssuerPrivateKeyTypes, until: datetime.datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "é" * 30)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(datetime.datetime(2000, 1, 1))
    names = x509.SubjectAlternativeName([x509.DNSName(f"host{n}.plant") for n in range(40)])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.not_valid_after(until).add_extension(names, critical=False).sign(key, digest)


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("year", [2049, 2050, 9999])  # from 2050 on the time is written in another form
def test_key_and_end_are_what_cryptography_reads(kind: str, year: int) -> None:
    until = datetime.datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
    key = KEYS[kind]()
    certificate = made(key, until)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    info = key.public_key().public_bytes(serialization.Encoding.DER, form)
    expected = Certificate(until, base64.b64encode(hashlib.sha256(info).digest()).decode())
    assert Certificate.from_der(certificate.public_bytes(serialization.Encoding.DER)) == expected
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    assert Certificate.from_pem(f"subject=CN\n{pem}{pem}") == expected


def test_what_is_no_certificate_is_refused() -> None:
    der = made(KEYS["ec"](), datetime.datetime(2030, 1, 1)).public_bytes(serialization.Encoding.DER)
    for data in (b"", b"\x30", b"\x30\x80", b"\x30\x03\x02\x01\x00", der[:-1], der[:50], b"\x30\x89" + b"\xff" * 9):
        with pytest.raises(ValueError, match=r"no X\.509 certificate"):
            Certificate.from_der(data)
    for text in ("", "-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"):
        with pytest.raises(ValueError, match=r"no (X\.509 )?certificate|[Ii]ncorrect padding"):
            Certificate.from_pem(text)
