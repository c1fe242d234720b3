"""A certificate authority that writes PEM files into a folder."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM


class Authority:
    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.ca = folder / f"{name}.pem"
        self.ca.write_bytes(self._sign(self._name, self._key.public_key(), authority=True, days=1))

    def issue(
        self, name: str, *, days: float = 1, begins: float = -1, address: str = "127.0.0.1", password: str = ""
    ) -> tuple[Path, Path]:
        """Write NAME.crt and NAME.key; the certificate is good from ``begins`` to ``days`` days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert_path, key_path = self._folder / f"{name}.crt", self._folder / f"{name}.key"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert_path.write_bytes(
            self._sign(subject, key.public_key(), authority=False, days=days, begins=begins, address=address)
        )
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            encryption = serialization.BestAvailableEncryption(password.encode())
        key_path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption))
        return cert_path, key_path

    def listener(self, cert: Path, key: Path, lines: str = "require_certificate true") -> str:
        """What a mosquitto with this certificate has in its configuration."""
        return f"cafile {self.ca}\ncertfile {cert}\nkeyfile {key}\n{lines}"

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        authority: bool,
        days: float,
        begins: float = -1,
        address: str = "127.0.0.1",
    ) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=begins))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(PEM)
