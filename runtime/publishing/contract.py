"""The contract with consumers as documents: JSON Schemas and an AsyncAPI 3 description, made from the pydantic models.

The schemas keep to what JSON Schema draft-07 and 2020-12 have in common, because AsyncAPI 3 tools read draft-07.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from jetspect.runtime.publishing.commissioning_message import CommissioningMessage
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.message_base import Message
from jetspect.runtime.publishing.messages import MetaMessage, StatusMessage
from jetspect.runtime.publishing.requests import (
    ReceiptMessage,
    ReplayCommand,
    ReplayReply,
    TriggerCommand,
    TriggerReply,
)
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.publishing.slots_message import ShadowMessage
from jetspect.runtime.publishing.topics import VERSION

DRAFT = "http://json-schema.org/draft-07/schema#"
_LEVELS = {
    "namespace": "First level, jetspect unless set otherwise",
    "site": "Plant",
    "area": "Area of the plant",
    "line": "Line",
    "unit": "Inspection point",
}


@dataclass(frozen=True)
class Channel:
    """One leaf topic: what stands on it, who sends it, and how."""

    leaf: str
    message: type[Message]
    action: Literal["send", "receive"]
    """From the station's side."""
    qos: int
    retain: bool = False
    reply: str = ""
    """Leaf of the answer."""

    @property
    def name(self) -> str:
        return self.leaf.replace("/", ".")


CHANNELS = (
    Channel("result", ResultMessage, "send", qos=1),
    Channel("status", StatusMessage, "send", qos=1, retain=True),
    Channel("meta", MetaMessage, "send", qos=1, retain=True),
    Channel("health", HealthMessage, "send", qos=0),
    Channel("shadow", ShadowMessage, "send", qos=0),
    Channel("commissioning", CommissioningMessage, "send", qos=1, retain=True),
    Channel("receipt", ReceiptMessage, "receive", qos=1),
    Channel("cmd/replay", ReplayCommand, "receive", qos=1, reply="cmd/replay/reply"),
    Channel("cmd/replay/reply", ReplayReply, "send", qos=1),
    Channel("cmd/trigger", TriggerCommand, "receive", qos=1, reply="cmd/trigger/reply"),
    Channel("cmd/trigger/reply", TriggerReply, "send", qos=1),
)


class _Plain(GenerateJsonSchema):
    """A fixed-length array of one kind is written the way every draft understands."""

    def tuple_schema(self, schema: core_schema.TupleSchema) -> JsonSchemaValue:
        made = super().tuple_schema(schema)
        kinds = made.pop("prefixItems", None)
        if kinds is not None:
            if any(kind != kinds[0] for kind in kinds):
                raise ValueError("an array of mixed kinds cannot be written for draft-07; use a model instead")
            made["items"] = kinds[0]
        return made


def json_schema(leaf: str) -> dict[str, Any]:
    """Return the JSON Schema of the message on one leaf topic, for example ``"result"``."""
    channel = next(c for c in CHANNELS if c.leaf == leaf)
    schema = channel.message.model_json_schema(mode=_mode(channel), schema_generator=_Plain)
    return {"$schema": DRAFT, **schema}


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of a station, complete in itself."""
    schemas = _schemas(CHANNELS)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "jetspect station",
            "version": f"{VERSION.removeprefix('v')}.0.0",
            "description": "Results of visual inspection over MQTT 5 or 3.1.1. Everything needed is in the payload. "
            "Within this version messages only gain fields that may be left out; ignore those you do not know.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {c.name: _channel(c) for c in CHANNELS},
        "operations": {
            f"{c.action}.{c.name}": _operation(c) for c in CHANNELS if c.leaf not in {other.reply for other in CHANNELS}
        },
        "components": {
            "messages": {c.message.__name__: _message(c) for c in CHANNELS},
            "schemas": schemas,
        },
    }


def documents() -> dict[str, str]:
    """Return the text of every document of the contract by its file name."""
    made = {f"{c.name}.schema.json": json_schema(c.leaf) for c in CHANNELS}
    made["asyncapi.json"] = asyncapi()
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in made.items()}


def _mode(channel: Channel) -> Literal["serialization", "validation"]:
    return "serialization" if channel.action == "send" else "validation"


def _schemas(channels: Sequence[Channel]) -> dict[str, Any]:
    _, defined = models_json_schema(
        [(c.message, _mode(c)) for c in channels],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Plain,
    )
    schemas: dict[str, Any] = defined["$defs"]
    return schemas


def _channel(channel: Channel) -> dict[str, Any]:
    name = channel.message.__name__
    levels = "/".join(f"{{{level}}}" for level in list(_LEVELS)[1:])
    return {
        "address": f"{{namespace}}/{VERSION}/{levels}/{channel.leaf}",
        "description": (channel.message.__doc__ or "").strip(),
        "parameters": {level: {"description": text} for level, text in _LEVELS.items()},
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }


def _message(channel: Channel) -> dict[str, Any]:
    name = channel.message.__name__
    return {
        "name": name,
        "contentType": "application/json",
        "payload": {"$ref": f"#/components/schemas/{name}"},
    }


def _operation(channel: Channel) -> dict[str, Any]:
    made: dict[str, Any] = {
        "action": channel.action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{channel.message.__name__}"}],
        "bindings": {"mqtt": {"qos": channel.qos, "retain": channel.retain, "bindingVersion": "0.2.0"}},
    }
    if channel.reply:
        made["reply"] = {"channel": {"$ref": f"#/channels/{channel.reply.replace('/', '.')}"}}
    return made
