"""``[broker]`` of a station file, and the words for what goes wrong on the way to it."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pydantic import Field, SecretStr, field_validator, model_validator

from jetspect.errors import PublishError
from jetspect.runtime.settings import LocalPath, Settings

T = TypeVar("T")


class TlsSettings(Settings):
    """``[broker.tls]``: TLS 1.2 or newer; with ``cert`` and ``key`` the station proves itself too."""

    ca: LocalPath | None = Field(None, description="CA certificates (PEM); None: those of the system")
    cert: LocalPath | None = Field(None, description="Own certificate (PEM)")
    key: LocalPath | None = Field(None, description="Own private key (PEM)")
    key_password_env: str | None = Field(None, description="Environment variable with the password of an encrypted key")

    @model_validator(mode="after")
    def _pair(self) -> TlsSettings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        return self


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails; paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


class BrokerSettings(Settings):
    """``[broker]``: where results go. Secrets come from the environment or a file, never from the station file."""

    host: str = Field("localhost", min_length=1)
    port: int = Field(1883, ge=1, le=65535)
    protocol: Literal["5", "3.1.1"] = Field(
        "5", description="MQTT version; with 3.1.1 a broker cannot say that it refused a result"
    )
    client_id: str = Field("", description="Empty: made from the station's address")
    keepalive_s: int = Field(30, ge=5, le=3600)
    username: str | None = None
    password_env: str | None = Field(None, description="Environment variable that holds the password")
    password_file: LocalPath | None = Field(None, description="File that holds the password in its first line")
    tls: TlsSettings | None = None
    max_inflight: int = Field(64, ge=1, le=1000, description="Messages on their way without an acknowledgement")
    replay_s: float = Field(
        5.0, ge=0, description="After a broken connection results acknowledged this shortly before are sent again"
    )

    @field_validator("host")
    @classmethod
    def _name_only(cls, value: str) -> str:
        if "/" in value or "@" in value or any(c.isspace() for c in value):
            raise ValueError("host is a name or an address alone; port, login and TLS have keys of their own")
        return value

    @model_validator(mode="after")
    def _login(self) -> BrokerSettings:
        if self.password_env is not None and self.password_file is not None:
            raise ValueError("set password_env or password_file, not both")
        if self.username is None and (self.password_env is not None or self.password_file is not None):
            raise ValueError("a password needs a username")
        return self

    @property
    def where(self) -> str:
        return f"broker {self.host}:{self.port}"

    def password(self) -> SecretStr | None:
        """Read the password. Raises PublishError where the variable or the file is missing."""
        if self.password_env is not None:
            return _from_environment(self.password_env, "broker.password_env")
        if self.password_file is not None:
            try:
                lines = self.password_file.read_text("utf-8").splitlines()
            except OSError as error:
                reason = error.strerror or error
                raise PublishError(f"broker.password_file {self.password_file} cannot be read: {reason}") from error
            except UnicodeDecodeError as error:  # its message would show the content
                raise PublishError(f"broker.password_file {self.password_file} is not UTF-8 text") from error
            if not lines:
                raise PublishError(f"broker.password_file {self.password_file} is empty; put the password in line 1")
            return SecretStr(lines[0])
        return None


def make_client(
    settings: BrokerSettings, client_id: str, *, clean: bool = True, reconnect: bool = False
) -> paho.Client:
    """Build a paho client with protocol, login and TLS, for one connection or, with ``reconnect``, for as many as it takes.

    Raises
    ------
    PublishError
        A password or a certificate cannot be used.
    """
    five = settings.protocol == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        clean_session=None if five else clean,
        reconnect_on_failure=reconnect,
    )
    client.max_inflight_messages_set(0)  # we count ourselves
    if settings.username is not None:
        password = settings.password()
        client.username_pw_set(settings.username, password.get_secret_value() if password else None)
    if settings.tls is not None:
        client.tls_set_context(tls_context(settings.tls))
    return client


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Build a TLS context. Raises PublishError where a file cannot be used."""
    secret = _from_environment(tls.key_password_env, "broker.tls.key_password_env") if tls.key_password_env else None
    context = _using("ca", tls.ca, lambda: ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosingSocket
    cert, key = tls.cert, tls.key
    if cert is not None and key is not None:
        # A password is always given: without one OpenSSL would ask for it on the terminal.
        phrase = secret.get_secret_value() if secret else ""
        _using("cert, broker.tls.key", cert, lambda: context.load_cert_chain(cert, key, phrase))
    return context


def explain(error: Exception, settings: BrokerSettings) -> str:
    """Say in one line why a connection did not come about, and what to check."""
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return f"the name {settings.host!r} is not known; check broker.host and the DNS"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}); check broker.tls.ca and broker.host"
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "reason", None) or error
        return f"TLS fails ({why}); check broker.port, broker.tls and whether the broker speaks TLS there"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there; check that the broker runs, broker.host and broker.port"
    if isinstance(error, TimeoutError):
        return "no answer; check the network, the firewall, broker.host and broker.port"
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"cannot be reached ({reason}); check the network, broker.host and broker.port"


def _from_environment(name: str, key: str) -> SecretStr:
    value = os.environ.get(name)
    if value is None:
        raise PublishError(f"environment variable {name} ({key}) is not set; set it before the start")
    return SecretStr(value)


def _using(key: str, path: Path | None, load: Callable[[], T]) -> T:
    try:
        return load()
    except OSError as error:  # ssl.SSLError is one
        reason = error.reason if isinstance(error, ssl.SSLError) and error.reason else error.strerror or str(error)
        raise PublishError(
            f"broker.tls.{key}: {path} cannot be used: {reason}; give a PEM file that can be read"
        ) from error
