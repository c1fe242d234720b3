"""A login of its own, beside the connection in use: new certificates prove themselves before the old ones are given up."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import suppress

from paho.mqtt.reasoncodes import ReasonCode

from jetspect.runtime.publishing.broker import BrokerSettings, Login, make_client
from jetspect.runtime.publishing.reasons import closed_before_login, explain, login_hint

_ANSWER_S = 10.0


def try_login(settings: BrokerSettings, client_id: str, login: Login, stopping: Callable[[], bool]) -> str:
    """Log in and out again; return why that fails, or an empty text."""
    answers: queue.SimpleQueue[ReasonCode | None] = queue.SimpleQueue()
    client = make_client(settings, client_id, login=login)
    client.on_connect = lambda c, data, flags, code, properties: answers.put(code)
    client.on_disconnect = lambda c, data, flags, code, properties: answers.put(None)
    deadline = time.monotonic() + _ANSWER_S
    try:
        client.connect(settings.host, settings.port, settings.keepalive_s)
        while answers.empty() and time.monotonic() < deadline and not stopping():
            client.loop(timeout=0.2)
        code = answers.get_nowait()
    except queue.Empty:
        return "it does not answer the login; check that it is an MQTT broker"
    except (OSError, UnicodeError) as error:
        return explain(error, settings)
    finally:
        client.disconnect()
        if (sock := client.socket()) is not None:
            with suppress(OSError):
                sock.close()
    if code is None:
        return closed_before_login(settings)
    return f"refuses the login ({code}); {login_hint(str(code))}" if code.is_failure else ""
