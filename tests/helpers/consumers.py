"""What tests of consumers share: results as bytes, and a broker that keeps them for a consumer."""

from __future__ import annotations

from collections.abc import Iterable

import paho.mqtt.publish
from delivery import ADDRESS, TOPICS, inspection

from jetspect.runtime.consuming.inbox import Inbox
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.describing import result_message

ANY = "jetspect/v1/+/+/+/+/result"


def result(seq: int, event_id: str = "") -> bytes:
    return result_message(inspection(seq), ADDRESS, seq, event_id or f"e{seq}").payload()


def broker_at(port: int, **more: object) -> BrokerSettings:
    return BrokerSettings.model_validate({"host": "127.0.0.1", "port": port, **more})


def subscribed(port: int, client_id: str, topic: str = ANY) -> None:
    """Let the broker open a session that it keeps: what comes from now on waits there."""
    with Inbox(broker_at(port), [topic], client_id=client_id):
        pass


def send(port: int, payloads: Iterable[bytes], topic: str = TOPICS.result) -> None:
    """Publish at QoS 1; all of it is with the broker afterwards."""
    messages = [{"topic": topic, "payload": payload, "qos": 1} for payload in payloads]
    paho.mqtt.publish.multiple(messages, hostname="127.0.0.1", port=port)
