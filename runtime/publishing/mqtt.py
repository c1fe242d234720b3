"""Carry the outbox to an MQTT broker.

paho's callbacks run while it holds its own locks, so they only enqueue; everything else happens in one thread of ours.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pydantic import Field, SecretStr, model_validator

from jetspect import __version__
from jetspect.errors import PublishError
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.messages import HealthMessage, MetaMessage, StatusMessage
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.settings import LocalPath, Settings

log = logging.getLogger(__name__)


class TlsSettings(Settings):
    """``[broker.tls]``: TLS 1.2 or newer; with ``cert`` and ``key`` the station proves itself too."""

    ca: LocalPath | None = Field(None, description="CA certificates (PEM); None: those of the system")
    cert: LocalPath | None = Field(None, description="Own certificate (PEM)")
    key: LocalPath | None = Field(None, description="Own private key (PEM)")

    @model_validator(mode="after")
    def _pair(self) -> TlsSettings:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together; give both or neither")
        return self


class BrokerSettings(Settings):
    """``[broker]``: where results go. Secrets come from the environment or a file, never from the station file."""

    host: str = Field("localhost", min_length=1)
    port: int = Field(1883, ge=1, le=65535)
    protocol: Literal["5", "3.1.1"] = Field("5", description="MQTT version")
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

    def password(self) -> SecretStr | None:
        """Read the password. Raises PublishError where the variable or the file is missing."""
        if self.password_env is not None:
            value = os.environ.get(self.password_env)
            if value is None:
                raise PublishError(f"environment variable {self.password_env} (broker.password_env) is not set")
            return SecretStr(value)
        if self.password_file is not None:
            try:
                lines = self.password_file.read_text().splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise PublishError(f"password file {self.password_file} cannot be read: {error}") from error
            return SecretStr(lines[0] if lines else "")
        return None


def make_client(settings: BrokerSettings, client_id: str, *, clean: bool = True) -> paho.Client:
    """Build a paho client with protocol, login and TLS set. Raises PublishError for unusable secrets or certificates."""
    five = settings.protocol == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=paho.MQTTv5 if five else paho.MQTTv311,
        clean_session=None if five else clean,
    )
    if settings.username is not None:
        password = settings.password()
        client.username_pw_set(settings.username, password.get_secret_value() if password else None)
    if settings.tls is not None:
        client.tls_set_context(tls_context(settings.tls))
    client.reconnect_delay_set(min_delay=1, max_delay=30)
    return client


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Build a TLS context. Raises PublishError where a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if tls.cert is not None and tls.key is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(f) for f in (tls.ca, tls.cert, tls.key) if f)
        raise PublishError(f"broker.tls: {files} cannot be used: {error}") from error
    return context


def diagnose(settings: BrokerSettings, timeout_s: float = 3.0) -> str:
    """Say why no connection comes about; paho tells only that none did."""
    try:
        with socket.create_connection((settings.host, settings.port), timeout_s) as plain:
            if settings.tls is None:
                return "the connection was closed before the login"
            with tls_context(settings.tls).wrap_socket(plain, server_hostname=settings.host):
                return "the connection was closed after the TLS handshake"
    except socket.gaierror:
        return f"the name {settings.host} is not known; check broker.host and the DNS"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not trusted ({error.verify_message}); check broker.tls.ca and broker.host"
    except ssl.SSLError as error:
        return f"TLS fails ({error.reason or error}); check broker.port and broker.tls"
    except OSError as error:
        return f"cannot be reached ({error.strerror or error}); check that it runs, broker.host and broker.port"


@dataclass
class Counters:
    """What a publisher did since its start."""

    published: int = 0
    acknowledged: int = 0
    reconnects: int = 0


class MqttPublisher:
    """Publishes an outbox in order, QoS 1, and never gives up.

    Each row goes out once per connection and is acknowledged in the outbox on the broker's PUBACK. paho itself sends
    what is on its way again after a reconnect. A PUBACK is no proof of durability (a broker can die before it writes),
    so after a broken connection what was acknowledged in the last ``replay_s`` seconds goes out again, with the same
    ``event_id``.

    ``state`` is ``connecting``, ``online`` or the reason why not; it is logged when it changes.
    """

    def __init__(
        self, settings: BrokerSettings, outbox: Outbox, topics: Topics, meta: Callable[[], MetaMessage]
    ) -> None:
        self._settings, self._outbox, self._topics, self._meta = settings, outbox, topics, meta
        self.counters = Counters()
        self.state = "connecting"
        self._where = f"broker {settings.host}:{settings.port}"
        self._events: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._inflight: dict[int, int] = {}  # paho's message id -> seq
        self._next = 0
        self._online = False
        self._stop = False
        client_id = settings.client_id or topics.leaf("station").replace("/", ".")
        self._client = make_client(settings, client_id)
        self._client.max_inflight_messages_set(settings.max_inflight)
        will = StatusMessage(state="offline", reason="connection lost", jetspect=__version__)
        self._client.will_set(topics.status, will.payload(), qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = lambda *_: self._events.put(("unreachable", None))
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = lambda client, userdata, mid, code, properties: self._events.put(("ack", (mid, code)))
        self._thread = threading.Thread(target=self._work, name="jetspect-publish", daemon=True)

    def start(self) -> None:
        """Connect and publish in the background. A broker that is not there yet is waited for."""
        self._client.connect_async(self._settings.host, self._settings.port, self._settings.keepalive_s)
        self._client.loop_start()
        self._thread.start()

    def notify(self) -> None:
        """Say that the outbox has something new."""
        self._events.put(("wake", None))

    def health(self, message: HealthMessage) -> None:
        """Publish counters at QoS 0; lost while the broker is away."""
        if self._online:
            self._client.publish(self._topics.health, message.payload(), qos=0)

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged, at most so long; return how many are still in the outbox."""
        deadline = time.monotonic() + timeout_s
        self.notify()
        while (left := self._outbox.depth()) and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.02)
        return left

    def close(self) -> None:
        """Say goodbye (retained ``offline``) and disconnect. What is not acknowledged stays in the outbox."""
        if self._online:
            bye = StatusMessage(state="offline", reason="stopped", at=utc_now(), jetspect=__version__)
            info = self._client.publish(self._topics.status, bye.payload(), qos=1, retain=True)
            try:
                info.wait_for_publish(timeout=5)
            except (RuntimeError, ValueError):  # the connection broke in this moment; the last will says the same
                log.info("%s went away before the goodbye", self._where)
        self._stop = True
        self.notify()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._events.put(("refused", str(code)) if code.is_failure else ("connected", None))

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: Any,
        flags: paho.DisconnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._events.put(("disconnected", str(code)))

    def _work(self) -> None:
        try:
            while not self._stop:
                self._take_events()
                if self._online:
                    self._send()
        except PublishError as error:
            # The outbox failed under us; the station's next commit fails too and stops the line.
            self._set_state(f"stopped: {error}", logging.ERROR)

    def _take_events(self) -> None:
        """Wait for something to happen, then handle everything that has."""
        acked: list[int] = []
        try:
            event = self._events.get(timeout=1.0)
            while True:
                if event[0] == "ack":
                    mid, code = event[1]
                    self._acknowledge(mid, code, acked)
                else:
                    self._change(*event)
                event = self._events.get_nowait()
        except queue.Empty:
            pass
        if acked:
            self._outbox.ack(acked)
            self.counters.acknowledged += len(acked)

    def _acknowledge(self, mid: int, code: ReasonCode, acked: list[int]) -> None:
        seq = self._inflight.pop(mid, None)
        if seq is None:
            return  # status, meta
        if code.is_failure:
            self._set_state(f"{self._where} refuses results ({code}); check the ACL of the broker", logging.ERROR)
            self._next = min(self._next, seq - 1)
            time.sleep(1.0)  # the row stays queued; do not hammer a broker that says no
        else:
            acked.append(seq)

    def _change(self, what: str, detail: str | None) -> None:
        if what == "connected":
            self._online = True
            self._birth()
            self._set_state("online", logging.INFO)
        elif what == "refused":
            self._set_state(
                f"{self._where} refuses the login: {detail}; check broker.username and password", logging.ERROR
            )
        elif what == "unreachable":
            self._set_state(f"{self._where}: {diagnose(self._settings)}; results wait in the outbox", logging.WARNING)
        elif what == "disconnected" and self._online:
            self._online = False
            self.counters.reconnects += 1
            again = self._outbox.reopen(time.time() - self._settings.replay_s) if self._settings.replay_s else 0
            self._next = 0
            self._set_state(f"{self._where} is gone ({detail}); {again} recent results go out again", logging.WARNING)

    def _birth(self) -> None:
        now = utc_now()
        self._client.publish(self._topics.meta, self._meta().payload(), qos=1, retain=True)
        online = StatusMessage(state="online", at=now, jetspect=__version__)
        self._client.publish(self._topics.status, online.payload(), qos=1, retain=True)

    def _send(self) -> None:
        room = self._settings.max_inflight - len(self._inflight)
        if room <= 0:
            return
        on_their_way = set(self._inflight.values())
        for row in self._outbox.pending(self._next, room + len(on_their_way)):
            if len(self._inflight) >= self._settings.max_inflight:
                return
            self._next = row.seq
            if row.seq in on_their_way:
                continue
            info = self._client.publish(row.topic, row.payload, qos=1)
            if info.rc not in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN):
                self._next = row.seq - 1
                return
            # MQTT_ERR_NO_CONN means queued inside paho: sent on reconnect, so it is on its way.
            self._inflight[info.mid] = row.seq
            self.counters.published += 1

    def _set_state(self, state: str, level: int) -> None:
        if state != self.state:
            self.state = state
            log.log(level, "%s", state if state != "online" else f"{self._where}: online")
