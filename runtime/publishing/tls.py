"""``[broker.tls]``: whom a station trusts, and how it proves itself."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from jetspect.errors import PublishError
from jetspect.runtime.publishing.certificate import Certificate
from jetspect.runtime.settings import LocalPath, Settings

T = TypeVar("T")
# A password that was put here by mistake seldom looks like a name; it is refused without being shown.
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def _check_pin(value: str) -> str:
    try:
        size = len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != 32:
        raise ValueError(
            "a pin is the SHA-256 of a public key in base64, 44 characters; docs/security.md says how to make one"
        )
    return value


class TlsSettings(Settings):
    """``[broker.tls]``: TLS 1.2 or newer; with ``cert`` and ``key`` the station proves itself too."""

    ca: LocalPath | None = Field(
        None, description="CA certificates (PEM); then only these count. None: those of the system"
    )
    cert: LocalPath | None = Field(None, description="Own certificate (PEM)")
    key: LocalPath | None = Field(None, description="Own private key (PEM)")
    key_password_env: VariableName | None = Field(
        None, description="Environment variable with the password of an encrypted key"
    )
    pin_sha256: tuple[Annotated[str, AfterValidator(_check_pin)], ...] | None = Field(
        None,
        description="SHA-256 of the broker's public key in base64 (RFC 7469); beside the CA one of these must fit, or no "
        "login is sent",
    )

    @model_validator(mode="after")
    def _pair(self) -> TlsSettings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        if self.key_password_env is not None and self.key is None:
            raise ValueError("key_password_env is for a key; give cert and key, or leave it out")
        if self.pin_sha256 is not None and not self.pin_sha256:
            raise ValueError("pin_sha256 is empty, so that no broker would fit; give a pin, or leave it out")
        return self


class WrongPinError(ssl.SSLError):
    """The broker has a certificate of the right CA, and not the key that was pinned."""

    def __init__(self, pin: str) -> None:
        super().__init__(f"the pin of its public key is {pin}")
        self.pin = pin


class _Socket(ssl.SSLSocket):
    """Looks at the broker's key before anything is sent, and closes itself when the handshake fails.

    paho leaves the closing to the garbage collector.
    """

    pins: frozenset[str] = frozenset()

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
            self._check_pin()
        except OSError:
            self.close()
            raise

    def _check_pin(self) -> None:
        if self.pins:
            try:
                pin = Certificate.from_der(self.getpeercert(binary_form=True) or b"").pin
            except ValueError:  # OpenSSL has taken it, so this is our reading; no pin, no login
                pin = "unknown"
            if pin not in self.pins:
                raise WrongPinError(pin)


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Build a TLS context. Raises PublishError where a file cannot be used."""
    secret = from_environment(tls.key_password_env, "broker.tls.key_password_env") if tls.key_password_env else None
    context = _using("ca", tls.ca, lambda: ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.ca is not None:  # an intermediate CA may be what is trusted, without the root above it
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.sslsocket_class = type("_PinnedSocket", (_Socket,), {"pins": frozenset(tls.pin_sha256 or ())})
    load_identity(context, tls, secret)
    return context


def load_identity(context: ssl.SSLContext, tls: TlsSettings, secret: SecretStr | None = None) -> None:
    """Put the own certificate and key into a context. Raises PublishError where they cannot be used together."""
    cert, key = tls.cert, tls.key
    if cert is not None and key is not None:
        # A password is always given: without one OpenSSL would ask for it on the terminal.
        phrase = secret.get_secret_value() if secret else ""
        _using("cert, broker.tls.key", cert, lambda: context.load_cert_chain(cert, key, phrase))


def from_environment(name: str, key: str) -> SecretStr:
    """Return a secret. Raises PublishError where the variable is not set."""
    value = os.environ.get(name)
    if value is None:
        raise PublishError(f"environment variable {name} ({key}) is not set; set it before the start")
    return SecretStr(value)


def _using(key: str, path: Path | None, load: Callable[[], T]) -> T:
    try:
        return load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; a password that is too long is a ValueError
        reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else getattr(error, "strerror", None)
        raise PublishError(
            f"broker.tls.{key}: {path} cannot be used: {reason or error}; give a PEM file that can be read"
        ) from error
