"""What consumers say to a station: receipts and requests for a replay, and the station's answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from jetspect.runtime.publishing.message_base import Message, Utc

_LONGEST_ID = 64
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$")]


class Request(Message):
    """Sent to a station. Unknown fields are refused: a wish that the station does not know must not pass quietly."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReceiptMessage(Request):
    """A consumer has kept every result up to a ``seq``. QoS 1 on ``.../receipt``, not retained."""

    schema_id: Literal["jetspect.receipt/1"] = "jetspect.receipt/1"
    consumer: Name = Field(description="Name of the consumer, the same in all its receipts")
    up_to_seq: int = Field(ge=0, le=2**63 - 1, description="The highest seq with nothing missing at or below it")
    at: Utc | None = None


class ReplayCommand(Request):
    """Asks for a range of results again. QoS 1 on ``.../cmd/replay``, not retained."""

    schema_id: Literal["jetspect.cmd.replay/1"] = "jetspect.cmd.replay/1"
    request_id: Name = Field(description="Comes back in the answer")
    from_seq: int = Field(ge=1, le=2**63 - 1)
    to_seq: int | None = Field(None, ge=1, le=2**63 - 1, description="Inclusive; null: up to the newest result")

    @model_validator(mode="after")
    def _in_order(self) -> ReplayCommand:
        if self.to_seq is not None and self.to_seq < self.from_seq:
            raise ValueError(f"to_seq {self.to_seq} is below from_seq {self.from_seq}; give the lower one first")
        return self


class ReplayReply(Message):
    """Answer on ``.../cmd/replay/reply``. The results themselves come on ``.../result``, with the event_id they had."""

    schema_id: Literal["jetspect.cmd.replay.reply/1"] = "jetspect.cmd.replay.reply/1"
    request_id: str = Field(description="From the request; empty where it could not be read")
    accepted: bool
    reason: str = Field("", description="Why not, and what to do; empty where accepted")
    from_seq: int | None = None
    to_seq: int | None = Field(None, description="The last seq of the answer; never beyond the newest result")
    queued: int = Field(0, ge=0, description="Results that come again")
    gone: int = Field(0, ge=0, description="Results in the range that the station no longer has")
    oldest_seq: int | None = Field(None, description="The oldest result that the station still has")
    newest_seq: int | None = None


class TriggerCommand(Request):
    """Starts a picture of a part. QoS 1 on ``.../cmd/trigger``, not retained."""

    schema_id: Literal["jetspect.cmd.trigger/1"] = "jetspect.cmd.trigger/1"
    request_id: Name = Field(description="Comes back in the answer; a second message with the same one starts nothing")
    part_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None,
        description="The part in front of the cameras; null: the next shot of the open part, or a name by the station",
    )

    @field_validator("part_id")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("must hold printable characters only")
        return value


class TriggerReply(Message):
    """Answer on ``.../cmd/trigger/reply``. Accepted: a result of every camera follows, UNKNOWN without a frame."""

    schema_id: Literal["jetspect.cmd.trigger.reply/1"] = "jetspect.cmd.trigger.reply/1"
    request_id: str = Field(description="From the request; empty where it could not be read")
    accepted: bool
    reason: str = Field("", description="Why not, and what to do; empty where accepted")
    part_id: str | None = None
    shot: int | None = Field(None, description="Which shot of the part this is, from 1")
    triggered_at: Utc | None = None


def first_fault(error: ValidationError) -> str:
    """Say in one line what is wrong with a request."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "payload"
    fault = f"{where}: {first['msg'].removeprefix('Value error, ')}"[:300]
    return "".join(c if c.isprintable() else "?" for c in fault)  # it may hold names that the sender made up


def readable_id(payload: bytes) -> str:
    """Return the request_id of a payload that is no good request, also of one that was cut; empty where there is none."""
    try:
        body = from_json(payload, allow_partial=True)
    except ValueError:
        return ""
    found = body.get("request_id", "") if isinstance(body, dict) else ""
    return found[:_LONGEST_ID] if isinstance(found, str) else ""
