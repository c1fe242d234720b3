"""``[broker]`` of a station file, and the client that is made of it."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from typing import Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pydantic import Field, SecretStr, field_validator, model_validator

from jetspect.errors import PublishError
from jetspect.runtime.publishing.certificate import Certificate
from jetspect.runtime.publishing.tls import TlsSettings, VariableName, from_environment, tls_context
from jetspect.runtime.settings import LocalPath, Settings

__all__ = ["BrokerSettings", "Login", "TlsSettings", "make_client", "read_login"]

log = logging.getLogger(__name__)


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
    password_env: VariableName | None = Field(None, description="Environment variable that holds the password")
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

    @property
    def local(self) -> bool:
        """Whether nothing leaves this machine."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")

    def password(self) -> SecretStr | None:
        """Read the password. Raises PublishError where the variable or the file is missing."""
        if self.password_env is not None:
            return from_environment(self.password_env, "broker.password_env")
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


@dataclass(frozen=True)
class Login:
    """What a connection proves itself with, and whom it trusts: settings, environment and files, as they were read."""

    password: SecretStr | None
    context: ssl.SSLContext | None
    certificate: Certificate | None


def read_login(settings: BrokerSettings) -> Login:
    """Read passwords, keys and certificates. Raises PublishError where one cannot be used."""
    tls = settings.tls
    context, certificate = (None if tls is None else tls_context(tls)), None
    if tls is not None and tls.cert is not None:
        try:
            certificate = Certificate.from_pem(tls.cert.read_text("utf-8", "replace"))
        except (OSError, ValueError) as error:  # OpenSSL has taken it: only the end of its time is not known
            log.warning("%s: when it expires cannot be read (%s)", tls.cert, error)
    return Login(settings.password(), context, certificate)


def make_client(
    settings: BrokerSettings,
    client_id: str,
    *,
    clean: bool = True,
    reconnect: bool = False,
    login: Login | None = None,
) -> paho.Client:
    """Build a paho client with protocol, login and TLS, for one connection or, with ``reconnect``, for as many as it takes.

    Without ``login`` passwords and certificates are read now.

    Raises
    ------
    PublishError
        A password or a certificate cannot be used.
    """
    login = read_login(settings) if login is None else login
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
        client.username_pw_set(settings.username, login.password.get_secret_value() if login.password else None)
    if login.context is not None:
        client.tls_set_context(login.context)
    return client
