"""What a station publishes: pydantic models, JSON on the wire, JSON Schema from the same source.

Times are ISO 8601 in UTC. A consumer drops repeated ``event_id`` and sees gaps in ``seq``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from jetspect.runtime.manifest import Sha256
from jetspect.runtime.parts import PartResult
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

MAX_TEXT = 4096
"""Characters of a text from outside; a longer one is cut, and still differs from every other."""


def _outside_text(value: str) -> str:
    """Replace what is no UTF-8, and cut what is too long; then it ends with … and the start of the SHA-256 of the whole."""
    data = value.encode("utf-8", "replace")
    if len(value) <= MAX_TEXT:
        return data.decode("utf-8")
    mark = "…" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return value[: MAX_TEXT - len(mark)].encode("utf-8", "replace").decode("utf-8") + mark


Text = Annotated[str, AfterValidator(_outside_text)]
"""A text from outside; what is no UTF-8 (a name of a file) becomes '?', and no result is lost over its length."""


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

    part_id: Text = Field(json_schema_extra=_opc("ResultDataType.partId.id"))
    verdict: Verdict
    triggered_at: Utc = Field(description="The first trigger for this part")
    views: tuple[ViewInfo, ...] = Field(description="Every frame of the part, this one too")


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
    lost_cause: str | None = Field(
        None,
        description="Why the frame itself was lost: queue_full, missed, no_frame, interrupted, incomplete, unreadable, "
        "unexpected or inspection_failed; later versions may know more. Left out where there was an image to judge",
    )
    part: PartInfo | None = Field(
        None,
        description="With triggers, in the last result of a part: the verdict on all of it; left out in the others",
    )
    throttled: Text | None = Field(
        None,
        description="What slowed the device down while this frame was inspected (heat or over-current), so that its "
        "timings are no measure; left out where nothing did",
    )

    def payload(self) -> bytes:
        absent = {name for name in ("decision", "lost_cause", "part", "throttled") if getattr(self, name) is None}
        return self.model_dump_json(exclude=absent).encode()


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


class TriggerInfo(Message):
    """What became of triggers since the start."""

    asked: int = Field(0, description="Triggers")
    missed: int = Field(0, description="Frames that never came, each an UNKNOWN result")
    unasked: int = Field(0, description="Frames that belong to no trigger; of a camera that runs freely they are many")


class SourceInfo(Message):
    """How the source of frames fares since the start."""

    connected: bool = Field(True, description="Whether the camera or stream is there now")
    reconnects: int = 0
    missed: int = Field(0, description="Frames that the camera sent and that never arrived; each an UNKNOWN result")
    packets_missing: int = Field(0, description="Network camera: packets lost on the way")
    packets_resent: int = Field(0, description="Network camera: packets delivered after asking again")
    fault: Text = Field("", description="Why the camera or stream is not there; empty while it is")
    triggers: TriggerInfo | None = Field(None, description="Null without triggers")


class StageInfo(Message):
    """How long one stage took since the start; quantiles are estimated from buckets with fixed bounds."""

    count: int = Field(0, description="Frames that went through it")
    sum_ms: float = 0.0
    p50_ms: float | None = Field(None, description="Null while nothing went through it, as all quantiles")
    p90_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float = 0.0


class ProcessInfo(Message):
    """What the station's process takes of the machine; 0 where the machine does not tell."""

    rss_bytes: int = Field(0, description="Resident memory")
    open_files: int = Field(0, description="Open file descriptors")


class DeviceStateInfo(Message):
    """What the sensors of the machine say; only those that it has."""

    temperatures_c: dict[str, float] = Field(default_factory=dict, description="Thermal zone -> degrees Celsius")
    power_w: dict[str, float] = Field(default_factory=dict, description="Power rail -> watts")
    clocks_mhz: dict[str, float] = Field(default_factory=dict, description="cpu, gpu, emc (memory) -> MHz")
    loads: dict[str, float] = Field(default_factory=dict, description="cpu, gpu -> 0 to 1")
    fan_rpm: float | None = Field(None, description="Turns per minute; null without a fan that tells")
    memory_available_bytes: int = Field(0, description="Memory that programs can still get")
    throttled_by: tuple[str, ...] = Field((), description="What slows the device down now; empty: nothing")
    throttled_s: float = Field(0.0, description="How long it was slowed since the start")
    over_current_events: int = Field(0, description="How often a power rail drew too much since the start")


class BuildInfo(Message):
    """What runs."""

    jetspect: str
    model: ModelInfo


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
    dropped: dict[str, int] = Field(
        description="Cause -> frames lost to it, each an UNKNOWN result; the causes are those of a result's lost_cause"
    )
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
    requests_ignored: int = Field(0, description="Requests not carried out: malformed, too large, or too many at once")
    temperature_c: float | None = None
    source: SourceInfo = Field(default_factory=SourceInfo)
    parts: dict[str, int] = Field(default_factory=dict, description="With triggers: whole parts by verdict")
    not_ready: tuple[str, ...] = Field(
        (), description="Why frames cannot be judged just now, as 'kind: what is wrong'; empty: they can"
    )
    defects: dict[str, int] = Field(default_factory=dict, description="Class -> defects that were described in results")
    stages: dict[str, StageInfo] = Field(
        default_factory=dict,
        description="The stages of timings_ms; record: until a result is on the disk; deliver: from verdict to PUBACK",
    )
    queue_waiting: int = Field(0, description="Frames between the source and their verdict")
    last_frame_s: float | None = Field(None, description="Age of the last frame; null before the first one")
    last_result_s: float | None = Field(None, description="Age of the last recorded result; null before the first one")
    outbox_bytes: int = Field(0, description="Size of the outbox's files")
    broker_online: bool | None = Field(None, description="Whether it is connected; null for a station without a broker")
    refused: int = Field(0, description="Results that the broker refused; each is tried again")
    process: ProcessInfo = Field(default_factory=ProcessInfo)
    build: BuildInfo | None = None
    device: DeviceStateInfo | None = Field(None, description="The machine's sensors; null before they were read")
    slots: SlotsInfo | None = Field(None, description="Null for a station that names one bundle")


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


MESSAGES: dict[str, type[Message]] = {
    "result": ResultMessage,
    "status": StatusMessage,
    "meta": MetaMessage,
    "health": HealthMessage,
    "shadow": ShadowMessage,
    "commissioning": CommissioningMessage,
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
            centroid_mm=None if d.centroid_mm is None else (round(d.centroid_mm[0], 4), round(d.centroid_mm[1], 4)),
            length_mm=None if d.length_mm is None else round(d.length_mm, 4),
            width_mm=None if d.width_mm is None else round(d.width_mm, 4),
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
    part: PartResult | None = None,
) -> ResultMessage:
    """Put an inspection into the message that is published for it."""
    shot = inspection.shot
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
            exposure_us=inspection.exposure_us,
            triggered_at=shot.triggered_at if shot is not None else None,
            view=shot.view or None if shot is not None else None,
            shot=shot.number if shot is not None else None,
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
        lost_cause=None if inspection.lost_cause is None else inspection.lost_cause.value,
        part=None if part is None else _part_info(part),
        throttled=inspection.throttled or None,
    )


def _part_info(part: PartResult) -> PartInfo:
    return PartInfo(
        part_id=part.part_id,
        verdict=part.verdict,
        triggered_at=part.triggered_at,
        views=tuple(
            ViewInfo(view=v.view, shot=v.number, verdict=v.verdict, seq=v.seq, event_id=v.event_id, defects=v.defects)
            for v in part.views
        ),
    )
