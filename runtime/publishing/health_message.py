"""How a station fares: counters since its start, and what its machine says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jetspect.runtime.publishing.message_base import Message, ModelInfo, StationAddress, Text, Utc
from jetspect.runtime.publishing.slots_message import SlotsInfo


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
