"""Listen to a topic filter."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from jetspect.errors import InputError, PublishError
from jetspect.runtime.publishing.broker import BrokerSettings, make_client, read_login
from jetspect.runtime.publishing.reasons import closed_before_login, explain
from jetspect.runtime.publishing.tls import from_environment, load_identity

log = logging.getLogger(__name__)


def check_filter(topic_filter: str) -> None:
    """Raise InputError for what is no MQTT topic filter."""
    levels = topic_filter.split("/")
    wrong = any(("#" in level or "+" in level) and level not in ("#", "+") for level in levels)
    if not topic_filter or "\0" in topic_filter or wrong or "#" in levels[:-1]:
        raise InputError(
            f"{topic_filter!r} is no topic filter: '+' stands for one whole level, '#' for the rest and comes last"
        )


class MqttSubscriber:
    """Receives one topic filter at QoS 1. With a ``client_id`` the broker keeps what comes while we are away.

    Raises
    ------
    PublishError
        On entering, when no connection comes about within ``timeout_s``.
    """

    def __init__(
        self, settings: BrokerSettings, topic_filter: str, *, client_id: str = "", timeout_s: float = 10.0
    ) -> None:
        check_filter(topic_filter)
        self._settings, self._filter, self._timeout_s = settings, topic_filter, timeout_s
        self._durable = bool(client_id)
        self._answered = False  # the login
        self._messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._ready: queue.Queue[str] = queue.Queue()
        self._login = read_login(settings)
        self._client = make_client(settings, client_id, clean=not self._durable, reconnect=True, login=self._login)
        self._client.reconnect_delay_set(min_delay=1, max_delay=10)
        self._client.on_pre_connect = lambda client, userdata: self._renew(client)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = lambda client, userdata, m: self._messages.put((m.topic, bytes(m.payload)))

    def __enter__(self) -> MqttSubscriber:
        options: dict[str, Any] = {}
        if self._settings.protocol == "5":
            options["clean_start"] = not self._durable
            if self._durable:
                options["properties"] = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
                options["properties"].SessionExpiryInterval = 7 * 24 * 3600
        settings = self._settings
        try:
            self._client.connect(settings.host, settings.port, settings.keepalive_s, **options)
        except (OSError, UnicodeError) as error:
            raise PublishError(f"{settings.where}: {explain(error, settings)}") from error
        self._client.loop_start()
        try:
            problem = self._ready.get(timeout=self._timeout_s)
        except queue.Empty:
            problem = f"no answer within {self._timeout_s:.0f} s"
        if problem:
            self._client.loop_stop()
            raise PublishError(f"broker {self._settings.host}:{self._settings.port}: {problem}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def messages(self, quiet_s: float | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (topic, payload) as they come; end after ``quiet_s`` seconds without any, or never."""
        last = time.monotonic()
        while True:
            try:
                # Short waits, so that Ctrl-C is answered at once.
                yield self._messages.get(timeout=0.2)
                last = time.monotonic()
            except queue.Empty:
                if quiet_s is not None and time.monotonic() - last >= quiet_s:
                    return

    def publish(self, topic: str, payload: bytes) -> None:
        """Send one message at QoS 1, over the same connection."""
        self._client.publish(topic, payload, qos=1)

    def _renew(self, client: paho.Client) -> None:
        """Take what was replaced on the disk; a new CA counts beside the one before until the next start."""
        settings, tls, context = self._settings, self._settings.tls, self._login.context
        try:
            if settings.username is not None and (password := settings.password()) is not None:
                client.username_pw_set(settings.username, password.get_secret_value())
            if tls is not None and context is not None:
                env = tls.key_password_env
                load_identity(context, tls, from_environment(env, "broker.tls.key_password_env") if env else None)
                if tls.ca is not None:
                    context.load_verify_locations(tls.ca)
        except (PublishError, OSError) as error:
            log.warning("%s; what was read before stays in use", error)

    def _on_subscribe(self, client: paho.Client, userdata: Any, mid: int, codes: Any, properties: Any) -> None:
        refused = [str(code) for code in codes if code.is_failure]
        problem = f"refuses the subscription to {self._filter}: {refused[0]}; check its access list" if refused else ""
        self._ready.put(problem)

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if not self._answered:
            self._ready.put(closed_before_login(self._settings))
        elif code.is_failure:
            log.warning("%s is gone (%s); connecting again", self._settings.where, code)

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        self._answered = True
        if code.is_failure:
            self._ready.put(f"refuses the login: {code}; check user name and password")
        else:
            client.subscribe(self._filter, qos=1)
