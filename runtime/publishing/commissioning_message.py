"""What a unit tells once it was brought up: whether a station would run on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetspect.runtime.manifest import Sha256
from jetspect.runtime.publishing.message_base import Message, StationAddress, Text, Utc


class CommissioningCheck(Message):
    """One line of the self-test."""

    name: str
    verdict: str = Field(description="ok, warn, fail or skipped; later versions may know more")
    reason: Text
    fix: Text = Field("", description="What to type; empty where the reason says what to do")


class CommissioningMessage(Message):
    """What the self-test of a newly brought up unit found, retained on ``.../commissioning``."""

    schema_id: Literal["jetspect.commissioning/1"] = "jetspect.commissioning/1"
    station: StationAddress
    at: Utc
    ok: bool = Field(description="No check failed")
    jetspect: str
    host: str
    bundle: str = Field(description="Name and version; empty where none could be read")
    manifest_sha256: Sha256 | None = None
    engine: str
    precision: str
    device: dict[str, str] = Field(description="model, jetpack, l4t, cuda, tensorrt and python; empty where not there")
    checks: tuple[CommissioningCheck, ...]
