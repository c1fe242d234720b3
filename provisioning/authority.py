"""The fleet's own certificate authority: made once, read and checked, and what it issues (RFC 5280)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from jetspect.errors import ProvisionError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes, PrivateKeyTypes

_DAY = timedelta(days=1)
MAX_CN = 64  # of X.520


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Authority:
    """A CA whose certificate and key belong together and may sign."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes

    @property
    def pem(self) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding

        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self, name: str, *, days: int, now: datetime, hosts: Sequence[str] = (), server: bool = False
    ) -> Identity:
        """Issue a certificate with a new EC P-256 key, good from a day ago (clocks differ) for so many days.

        Raises
        ------
        ProvisionError
            It would outlive the CA.
        """
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
        from cryptography.x509.oid import ExtendedKeyUsageOID

        self.require_outliving(days, now)
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = _begun(name, key.public_key(), now, days).issuer_name(self.certificate.subject)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs=True, issues=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_issuer_identifier(self.certificate), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
        plain = isinstance(self.key, (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey))
        signed = builder.sign(self.key, None if plain else hashes.SHA256())
        return Identity(
            signed.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def require_outliving(self, days: int, now: datetime) -> None:
        end = self.certificate.not_valid_after_utc
        if now + timedelta(days=days) > end:
            raise ProvisionError(
                f"certificates of {days} days would outlive the CA, which ends at {end:%Y-%m-%d}; set ca.days to "
                f"{(end - now).days} or less, or make a new CA"
            )

    def keeps(self, identity: Identity, name: str, hosts: Sequence[str], until: datetime) -> bool:
        """Whether an identity is this CA's, for this name, whole, and good at a time to come."""
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import serialization

        try:
            certificate = x509.load_pem_x509_certificate(identity.certificate)
            key = serialization.load_pem_private_key(identity.key, None)
            certificate.verify_directly_issued_by(self.certificate)
            san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        return (
            common_name(certificate) == name
            and list(san) == [_host(h) for h in hosts]
            and _public(key.public_key()) == _public(certificate.public_key())
            and certificate.not_valid_after_utc > until
        )


def load_authority(cert: Path, key: Path, password_env: str | None, now: datetime) -> Authority:
    """Read a CA.

    Raises
    ------
    ProvisionError
        It is no CA, not good now, or the key is not its own or cannot be opened.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    password = os.environ.get(password_env) if password_env else None
    if password_env and password is None:
        raise ProvisionError(
            f"environment variable {password_env} (ca.key_password_env) is not set; set it and try again"
        )
    try:
        certificate = x509.load_pem_x509_certificate(_read(cert, "ca.cert"))
    except ValueError as error:
        raise ProvisionError(
            f"ca.cert {cert} is no certificate in PEM; make a CA with: jetspect device fleet-ca"
        ) from error
    _require_ca(certificate, cert, now)
    try:
        private = load_pem_private_key(_read(key, "ca.key"), password.encode() if password else None)
    except TypeError as error:
        hint = (
            "is encrypted; set ca.key_password_env"
            if password is None
            else "is not encrypted; leave key_password_env out"
        )
        raise ProvisionError(f"ca.key {key} {hint}") from error
    except ValueError as error:
        why = "or the password is wrong" if password else "give the CA's private key"
        raise ProvisionError(f"ca.key {key} is no key in PEM, {why}") from error
    if _public(private.public_key()) != _public(certificate.public_key()):
        raise ProvisionError(f"ca.key {key} is not the key of {cert}; give the two that were made together")
    return Authority(certificate, _issuing(private, key))


def make_authority(name: str, *, days: int, now: datetime) -> tuple[Authority, Identity]:
    """Make a CA of its own, EC P-256, that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    builder = _begun(name, key.public_key(), now, days)
    builder = (
        builder.issuer_name(_subject(name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs=False, issues=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = Authority(certificate, key)
    return made, Identity(made.pem, private)


def common_name(certificate: x509.Certificate) -> str:
    from cryptography.x509.oid import NameOID

    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else ""


def issued_at(identity: Identity) -> datetime:
    """Return when a certificate of ours was issued: a day after it began to be good."""
    from cryptography import x509

    return x509.load_pem_x509_certificate(identity.certificate).not_valid_before_utc + _DAY


def ends_at(identity: Identity) -> datetime:
    from cryptography import x509

    return x509.load_pem_x509_certificate(identity.certificate).not_valid_after_utc


def _begun(name: str, key: object, now: datetime, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    now = now.replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .public_key(key)  # type: ignore[arg-type]
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + timedelta(days=days))
    )


def _subject(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    if not 1 <= len(name) <= MAX_CN:
        raise ProvisionError(f"a certificate's name has 1 to {MAX_CN} characters, {name!r} has {len(name)}; shorten it")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(*, signs: bool, issues: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=issues,
        crl_sign=issues,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_identifier(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    from cryptography import x509

    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]


def _host(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        if not text or not text.isascii() or any(c.isspace() for c in text):
            raise ProvisionError(
                f"{text!r} is no host name of letters, digits, '-' and '.'; give that, or an address"
            ) from None
        return x509.DNSName(text)


def _require_ca(certificate: x509.Certificate, path: Path, now: datetime) -> None:
    from cryptography import x509

    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise ProvisionError(f"ca.cert {path} expired at {ends:%Y-%m-%d %H:%M} UTC; make a new CA, also for the broker")
    if now < begins:
        raise ProvisionError(
            f"ca.cert {path} is not good before {begins:%Y-%m-%d %H:%M} UTC, and this machine's clock says "
            f"{now.astimezone(timezone.utc):%Y-%m-%d %H:%M}; set the clock, or wait"
        )
    try:
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        ca = False
    try:
        signs = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        signs = True
    if not ca or not signs:
        raise ProvisionError(
            f"ca.cert {path} is not that of a CA (basicConstraints CA:TRUE, keyCertSign); give the CA's own"
        )


def _issuing(key: PrivateKeyTypes, path: Path) -> CertificateIssuerPrivateKeyTypes:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(
        key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)
    ):
        return key
    raise ProvisionError(f"ca.key {path} is a key that signs no certificates; take EC, RSA or Ed25519")


def _public(key: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))  # type: ignore[attr-defined]


def _read(path: Path, key: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProvisionError(f"{key} {path} cannot be read: {error.strerror or error}") from error
