"""What a station publishes, by leaf topic; here stand the messages by which it makes itself known.

Times are ISO 8601 in UTC. A consumer drops repeated ``event_id`` and sees gaps in ``seq``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetspect.runtime.publishing.commissioning_message import CommissioningMessage
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.publishing.message_base import Message, ModelInfo, StationAddress, Utc
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.publishing.slots_message import ShadowMessage, SlotsInfo


class StatusMessage(Message):
    """Retained on ``.../status``; the last will says offline."""

    schema_id: Literal["jetspect.status/1"] = "jetspect.status/1"
    state: Literal["online", "offline"]
    reason: str = ""
    at: Utc | None = Field(None, description="Null in the last will: the broker sends it, not the station")
    jetspect: str


class MetaMessage(Message):
    """Birth certificate, retained on ``.../meta``."""

    schema_id: Literal["jetspect.meta/1"] = "jetspect.meta/1"
    station: StationAddress
    at: Utc
    jetspect: str
    model: ModelInfo
    classes: tuple[str, ...]
    tile_px: int
    device: dict[str, str | int]
    golden: str = Field(description="How the engine proved itself at the start")
    slots: SlotsInfo | None = Field(None, description="Null for a station that names one bundle")
    schemas: dict[str, str] = Field(
        default_factory=lambda: {leaf: str(m.model_fields["schema_id"].default) for leaf, m in MESSAGES.items()},
        description="Leaf topic -> schema_id of the messages on it",
    )


MESSAGES: dict[str, type[Message]] = {
    "result": ResultMessage,
    "status": StatusMessage,
    "meta": MetaMessage,
    "health": HealthMessage,
    "shadow": ShadowMessage,
    "commissioning": CommissioningMessage,
}
