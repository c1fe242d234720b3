"""What MQTT 5 says beside a result, so that a consumer or a bridge can route it without reading the payload."""

from __future__ import annotations

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from jetspect.runtime.publishing.result_message import ResultMessage

_USER_PROPERTY = b"\x26"


class ResultProperties(Properties):
    """The properties of one result. There is no message expiry among them: a result never gets too old.

    Packed here: what is the same in every result is packed once, and paho takes twenty times as long for the rest.
    """

    def __init__(self, seq: int, event_id: str) -> None:
        self.__dict__.update(_PROTOTYPE)  # paho's own beginnings take longer than all the rest
        body = b"".join((_FIXED, _EVENT_ID, _text(event_id), _SEQ, _text(str(seq))))
        self.__dict__["packed"] = _length(len(body)) + body

    def pack(self) -> bytes:
        packed: bytes = self.__dict__["packed"]
        return packed


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def _length(size: int) -> bytes:
    """Write a length as MQTT does: seven bits a byte, the lowest first."""
    out = bytearray()
    while True:
        size, low = divmod(size, 128)
        out.append(low | (128 if size else 0))
        if not size:
            return bytes(out)


_SCHEMA = str(ResultMessage.model_fields["schema_id"].default)
# Payload is UTF-8, content type, and the first user property.
_FIXED = b"\x01\x01" + b"\x03" + _text("application/json") + _USER_PROPERTY + _text("schema_id") + _text(_SCHEMA)
_EVENT_ID = _USER_PROPERTY + _text("event_id")
_SEQ = _USER_PROPERTY + _text("seq")
_PROTOTYPE = dict(vars(Properties(PacketTypes.PUBLISH)))  # type: ignore[no-untyped-call]
