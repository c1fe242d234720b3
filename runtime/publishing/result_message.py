"""The result for one frame, and for the part that it completes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetspect.runtime.manifest import Sha256
from jetspect.runtime.publishing.message_base import Message, ModelInfo, StationAddress, Text, Utc, opc
from jetspect.runtime.results import Verdict


class FrameInfo(Message):
    """The frame that was inspected."""

    id: Text
    part_id: Text | None = Field(None, json_schema_extra=opc("ResultDataType.partId.id"))
    captured_at: Utc = Field(json_schema_extra=opc("ResultDataType.processingTimes.startTime"))
    inspected_at: Utc = Field(json_schema_extra=opc("ResultDataType.creationTime"))
    size_wh: tuple[int, int] | None = Field(None, description="Width and height in px; null where no image came")
    origin: Text = ""
    exposure_us: float | None = Field(None, description="Exposure time in microseconds, where the camera tells it")
    triggered_at: Utc | None = Field(None, description="When this frame was asked for; null without triggers")
    view: Text | None = Field(None, description="Which camera, where several look at a part")
    shot: int | None = Field(None, description="Which shot of the part, from 1; null without triggers")


class DefectInfo(Message):
    """One defect, in frame pixels: x right, y down, pixel centres at integers."""

    class_name: str
    area_px: int = Field(ge=1)
    area_mm2: float | None = None
    box_xyxy: tuple[int, int, int, int] = Field(description="Left, top, right, bottom; right and bottom exclusive")
    centroid_xy: tuple[float, float]
    peak: float = Field(ge=0, le=1, description="Highest probability")
    mean: float = Field(ge=0, le=1, description="Mean probability")
    polygon_xy: tuple[tuple[int, int], ...]
    touches_border: bool
    centroid_mm: tuple[float, float] | None = Field(
        None, description="Place on the part in mm, from the centre of the frame's top left pixel: x right, y down"
    )
    length_mm: float | None = Field(
        None, description="Longer edge of the smallest rectangle around it, in any direction"
    )
    width_mm: float | None = Field(None, description="Shorter edge of that rectangle")


class EvidenceRef(Message):
    """A picture that the station keeps; it travels by reference."""

    kind: Literal["overlay", "crop"]
    uri: str = Field(description="File name in the station's evidence folder")
    sha256: Sha256
    bytes: int
    media_type: Literal["image/jpeg"] = "image/jpeg"
    box_xyxy: tuple[int, int, int, int] | None = None


class ViewInfo(Message):
    """What one frame said of a part."""

    view: Text = Field(description="The camera; empty where there is one")
    shot: int = Field(ge=1)
    verdict: Verdict
    seq: int = Field(description="The result that tells more")
    event_id: str
    defects: int = Field(ge=0)


class PartInfo(Message):
    """The verdict on a whole part, in the result that completes it.

    NOK where one frame is NOK, else UNKNOWN where one is UNKNOWN or never came, else OK.
    """

    part_id: Text = Field(json_schema_extra=opc("ResultDataType.partId.id"))
    verdict: Verdict
    triggered_at: Utc = Field(description="The first trigger for this part")
    views: tuple[ViewInfo, ...] = Field(description="Every frame of the part, this one too")


class ResultMessage(Message):
    """The result for one frame, QoS 1 on ``.../result``."""

    schema_id: Literal["jetspect.result/1"] = "jetspect.result/1"
    event_id: str = Field(
        description="UUID; the same in every repetition of this message",
        json_schema_extra=opc("ResultDataType.resultId.id"),
    )
    seq: int = Field(ge=1, description="Counts up by one per result of the station, across restarts")
    station: StationAddress
    frame: FrameInfo
    verdict: Verdict
    reasons: tuple[Text, ...] = ()
    defects: tuple[DefectInfo, ...] = ()
    defects_truncated: int = 0
    tiles: int = 0
    tiles_skipped: int = 0
    timings_ms: dict[str, float] = Field(default_factory=dict)
    model: ModelInfo
    evidence: tuple[EvidenceRef, ...] = ()
    decision: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Probability that the image as a whole shows a defect; left out where not decided so",
    )
    lost_cause: str | None = Field(
        None,
        description="Why the frame itself was lost: queue_full, missed, no_frame, interrupted, incomplete, unreadable, "
        "unexpected or inspection_failed; later versions may know more. Left out where there was an image to judge",
    )
    part: PartInfo | None = Field(
        None,
        description="With triggers, in the last result of a part: the verdict on all of it; left out in the others",
    )
    outbox_id: str | None = Field(
        None,
        max_length=64,
        pattern="^[A-Za-z0-9-]+$",
        description="Which count seq belongs to; another one where the station lost its outbox and seq began anew. Left "
        "out in results of older stations",
    )
    throttled: Text | None = Field(
        None,
        description="What slowed the device down while this frame was inspected (heat or over-current), so that its "
        "timings are no measure; left out where nothing did",
    )

    def payload(self) -> bytes:
        absent = {
            name for name in ("decision", "lost_cause", "part", "outbox_id", "throttled") if getattr(self, name) is None
        }
        return self.model_dump_json(exclude=absent).encode()
