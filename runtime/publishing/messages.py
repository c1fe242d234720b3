"""What a station publishes: pydantic models, JSON on the wire, JSON Schema from the same source.

Times are ISO 8601 in UTC. A consumer drops repeated ``event_id`` and sees gaps in ``seq``.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from jetspect.runtime.manifest import Sha256
from jetspect.runtime.results import Inspection, ModelIdentity, Verdict


def _to_utc(at: datetime) -> datetime:
    try:
        return at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)
    except OverflowError as error:  # pydantic passes on nothing but ValueError as a fault of the message
        raise ValueError(f"{at.isoformat()} is no time in UTC") from error


def _opc(name: str) -> JsonDict:
    """Name the field of OPC 40100-1 (Machine Vision) that carries the same."""
    return {"x-opc-40100-1": name}


Utc = Annotated[datetime, AfterValidator(_to_utc)]
"""A time, kept and written in UTC; one without an offset counts as UTC, so that no result is lost over it."""

Text = Annotated[str, AfterValidator(lambda value: value.encode("utf-8", "replace").decode("utf-8"))]
"""A text from outside; what is no UTF-8 (a name of a file) becomes '?'."""


class Message(BaseModel):
    """A reader ignores fields it does not know: a newer station may send more."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    def payload(self) -> bytes:
        """The compact JSON that goes over the wire."""
        return self.model_dump_json().encode()


class StationAddress(Message):
    """Where the inspection point stands."""

    namespace: str
    site: str
    area: str
    line: str
    unit: str


class FrameInfo(Message):
    """The frame that was inspected."""

    id: Text
    part_id: Text | None = Field(None, json_schema_extra=_opc("ResultDataType.partId.id"))
    captured_at: Utc = Field(json_schema_extra=_opc("ResultDataType.processingTimes.startTime"))
    inspected_at: Utc = Field(json_schema_extra=_opc("ResultDataType.creationTime"))
    size_wh: tuple[int, int] | None = Field(None, description="Width and height in px; null where no image came")
    origin: Text = ""


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


class ModelInfo(Message):
    """Which model in which engine gave the answer."""

    name: str = Field(json_schema_extra=_opc("ResultDataType.internalRecipeId.id"))
    version: str = Field(json_schema_extra=_opc("ResultDataType.internalRecipeId.version"))
    manifest_sha256: Sha256 = Field(json_schema_extra=_opc("ResultDataType.internalRecipeId.hash"))
    precision: str
    engine: str


class EvidenceRef(Message):
    """A picture that the station keeps; it travels by reference."""

    kind: Literal["overlay", "crop"]
    uri: str = Field(description="File name in the station's evidence folder")
    sha256: Sha256
    bytes: int
    media_type: Literal["image/jpeg"] = "image/jpeg"
    box_xyxy: tuple[int, int, int, int] | None = None


class ResultMessage(Message):
    """The result for one frame, QoS 1 on ``.../result``."""

    schema_id: Literal["jetspect.result/1"] = "jetspect.result/1"
    event_id: str = Field(
        description="UUID; the same in every repetition of this message",
        json_schema_extra=_opc("ResultDataType.resultId.id"),
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

    def payload(self) -> bytes:
        return self.model_dump_json(exclude={"decision"} if self.decision is None else None).encode()


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
    schemas: dict[str, str] = Field(
        default_factory=lambda: {leaf: str(m.model_fields["schema_id"].default) for leaf, m in MESSAGES.items()},
        description="Leaf topic -> schema_id of the messages on it",
    )


class SourceInfo(Message):
    """How the source of frames fares since the start."""

    connected: bool = Field(True, description="Whether the camera or stream is there now")
    reconnects: int = 0
    missed: int = Field(0, description="Frames that the camera sent and that never arrived; each an UNKNOWN result")
    packets_missing: int = Field(0, description="Network camera: packets lost on the way")
    packets_resent: int = Field(0, description="Network camera: packets delivered after asking again")


class HealthMessage(Message):
    """Counters since the start, QoS 0 on ``.../health``."""

    schema_id: Literal["jetspect.health/1"] = "jetspect.health/1"
    station: StationAddress
    at: Utc
    uptime_s: float
    frames: int
    inspected: int
    ok: int
    nok: int
    unknown: int
    dropped: dict[str, int]
    evidence_failed: int
    outbox_pending: int
    outbox_oldest_s: float
    published: int
    acknowledged: int
    reconnects: int
    alarms: tuple[str, ...] = Field((), description="What needs a person, as 'kind: what happened and what to do'")
    receipts: dict[str, int] = Field(
        default_factory=dict, description="Consumer -> the highest seq up to which it has kept everything"
    )
    temperature_c: float | None = None
    source: SourceInfo = Field(default_factory=SourceInfo)


MESSAGES: dict[str, type[Message]] = {
    "result": ResultMessage,
    "status": StatusMessage,
    "meta": MetaMessage,
    "health": HealthMessage,
}


def describe_defects(inspection: Inspection) -> tuple[DefectInfo, ...]:
    """Return the defects as they are published; coordinates and probabilities keep four decimals."""
    return tuple(
        DefectInfo(
            class_name=d.class_name,
            area_px=d.area_px,
            area_mm2=None if d.area_mm2 is None else round(d.area_mm2, 4),
            box_xyxy=d.box_xyxy,
            centroid_xy=(round(d.centroid_xy[0], 2), round(d.centroid_xy[1], 2)),
            peak=round(d.peak, 4),
            mean=round(d.mean, 4),
            polygon_xy=d.polygon_xy,
            touches_border=d.touches_border,
        )
        for d in inspection.defects
    )


def model_info(m: ModelIdentity) -> ModelInfo:
    return ModelInfo(
        name=m.name, version=m.version, manifest_sha256=m.manifest_sha256, precision=m.precision, engine=m.engine
    )


def timings_ms(inspection: Inspection) -> dict[str, float]:
    t = inspection.timings
    stages = ("checks", "foreground", "gather", "engine", "scatter", "postprocess", "verdict", "total")
    return {stage: round(float(getattr(t, f"{stage}_ms")), 3) for stage in stages}


def result_message(
    inspection: Inspection,
    station: StationAddress,
    seq: int,
    event_id: str,
    evidence: Sequence[EvidenceRef] = (),
) -> ResultMessage:
    """Put an inspection into the message that is published for it."""
    return ResultMessage(
        event_id=event_id,
        seq=seq,
        station=station,
        frame=FrameInfo(
            id=inspection.frame_id,
            part_id=inspection.part_id,
            captured_at=inspection.captured_at,
            inspected_at=inspection.inspected_at,
            size_wh=inspection.size_wh,
            origin=inspection.origin,
        ),
        verdict=inspection.verdict,
        reasons=inspection.reasons,
        defects=describe_defects(inspection),
        defects_truncated=inspection.defects_truncated,
        tiles=inspection.tiles,
        tiles_skipped=inspection.tiles_skipped,
        timings_ms=timings_ms(inspection),
        model=model_info(inspection.model),
        evidence=tuple(evidence),
        decision=None if inspection.decision is None else round(inspection.decision, 4),
    )
