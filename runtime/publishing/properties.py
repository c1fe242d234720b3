"""What MQTT 5 says beside a result, so that a consumer or a bridge can route it without reading the payload."""

from __future__ import annotations

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from jetspect.runtime.publishing.messages import ResultMessage

_SCHEMA = str(ResultMessage.model_fields["schema_id"].default)


def result_properties(seq: int, event_id: str) -> Properties:
    """Return the properties of one result. There is no message expiry among them: a result never gets too old."""
    made = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    made.PayloadFormatIndicator = 1  # UTF-8
    made.ContentType = "application/json"
    made.UserProperty = [("schema_id", _SCHEMA), ("event_id", event_id), ("seq", str(seq))]
    return made
