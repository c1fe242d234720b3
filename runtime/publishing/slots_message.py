"""What a station with two bundles tells of them: which one judges, and where the other would have judged differently."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetspect.runtime.publishing.message_base import Message, ModelInfo, StationAddress, Text, Utc
from jetspect.runtime.results import Verdict


class SlotsInfo(Message):
    """Which of two bundles judges, and what was changed last."""

    live: Literal["a", "b"]
    on_probation: bool = Field(False, description="The bundle has yet to show that it is no worse than the one before")
    frames: int = Field(0, description="That it judged; of earlier runs of the station the last 2000 at most")
    event: str = Field(
        "",
        description="What happened last: deployed, passed, rolled_back, switched_back (by hand) or kept (there was no way "
        "back); later versions may know more",
    )
    reason: Text = Field("", description="Why it went back")
    at: Utc | None = Field(None, description="When")


class JudgedBy(Message):
    """What one of two bundles says of a frame."""

    verdict: Verdict
    reasons: tuple[Text, ...] = ()
    defects: dict[str, int] = Field(default_factory=dict, description="Class -> how many; the largest ones are counted")
    decision: float | None = Field(None, description="As in the result")
    model: ModelInfo


class ShadowMessage(Message):
    """A frame on which the bundle that only looks on differs from the live one, QoS 0 on ``.../shadow``."""

    schema_id: Literal["jetspect.shadow/1"] = "jetspect.shadow/1"
    station: StationAddress
    at: Utc
    event_id: str = Field(description="Of the result that counts")
    seq: int = Field(description="Of the same result")
    frame_id: Text
    part_id: Text | None = None
    live: JudgedBy
    shadow: JudgedBy
    compared: int = Field(description="Frames that both have judged since the station started, this one too")
    differed: int = Field(description="On how many of them they differ")
    skipped: int = Field(description="Frames that the shadow did not see, so that no result had to wait")
