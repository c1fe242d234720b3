"""One retained message, delivered by a connection of its own: for what is said once, outside of a running station."""

from __future__ import annotations

import queue
import time
from contextlib import suppress
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from jetspect.errors import PublishError
from jetspect.runtime.publishing.broker import BrokerSettings, make_client, read_login
from jetspect.runtime.publishing.reasons import closed_before_login, explain, login_hint

_LIMIT_S = 20.0


def announce(
    settings: BrokerSettings, client_id: str, topic: str, payload: bytes, *, limit_s: float = _LIMIT_S
) -> None:
    """Publish, QoS 1 and retained, and wait for the broker's PUBACK.

    Raises
    ------
    PublishError
        The broker is not reached, refuses, or does not answer in time.
    """
    client = make_client(settings, client_id, login=read_login(settings))
    codes: queue.SimpleQueue[ReasonCode | None] = queue.SimpleQueue()
    client.on_connect = lambda c, data, flags, code, properties: codes.put(code)
    client.on_disconnect = lambda c, data, flags, code, properties: codes.put(None)
    client.on_publish = lambda c, data, mid, code, properties: codes.put(code)
    try:
        client.connect(settings.host, settings.port, settings.keepalive_s)
        login = _answer(client, codes, limit_s)
        if login is None:
            raise PublishError(f"{settings.where} {closed_before_login(settings)}")
        if login.is_failure:
            raise PublishError(f"{settings.where} refuses the login ({login}); {login_hint(str(login))}")
        client.publish(topic, payload, qos=1, retain=True)
        taken = _answer(client, codes, limit_s)
        if taken is None or taken.is_failure:
            why = "it hung up" if taken is None else taken
            raise PublishError(f"{settings.where} does not take {topic} ({why}); check its access list")
    except queue.Empty:
        raise PublishError(f"{settings.where} does not answer; check that it is an MQTT broker") from None
    except (OSError, UnicodeError) as error:
        raise PublishError(f"{settings.where}: {explain(error, settings)}") from error
    finally:
        client.disconnect()
        if (sock := client.socket()) is not None:
            with suppress(OSError):
                sock.close()


def _answer(client: paho.Client, codes: queue.SimpleQueue[Any], limit_s: float) -> ReasonCode | None:
    deadline = time.monotonic() + limit_s
    while codes.empty() and time.monotonic() < deadline:
        client.loop(timeout=0.2)
    code: ReasonCode | None = codes.get_nowait()
    return code
