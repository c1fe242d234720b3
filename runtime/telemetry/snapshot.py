"""Every number of a station at one instant. Health messages and the Prometheus endpoint both show this, so they agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from jetspect.device.monitor import DeviceState
from jetspect.runtime.frames import LostCause, SourceCounters
from jetspect.runtime.publishing.message_base import StationAddress
from jetspect.runtime.publishing.slots_message import SlotsInfo
from jetspect.runtime.results import ModelIdentity, Verdict
from jetspect.runtime.telemetry.process import ProcessState
from jetspect.runtime.telemetry.stages import Histogram


@dataclass(frozen=True)
class Events:
    """What went through the station since its start.

    Attributes
    ----------
    lost
        Each frame that was lost, by its cause.
    defects
        Those that results describe, by class; every class of the model is there.
    parts
        Whole parts by verdict; empty without triggers.
    last_frame_s, last_result_s
        Ages; None before the first one.
    waiting
        Frames between the source and their verdict.
    """

    frames: int
    inspected: int
    verdicts: Mapping[Verdict, int]
    lost: Mapping[LostCause, int]
    defects: Mapping[str, int]
    parts: Mapping[Verdict, int]
    evidence_failed: int
    stages: Mapping[str, Histogram]
    waiting: int
    last_frame_s: float | None
    last_result_s: float | None


@dataclass(frozen=True)
class OutboxState:
    """How much waits for the broker."""

    pending: int = 0
    oldest_s: float = 0.0
    disk_bytes: int = 0
    receipts: Mapping[str, int] | None = None


@dataclass(frozen=True)
class BrokerState:
    """What the publisher did."""

    online: bool = False
    published: int = 0
    acknowledged: int = 0
    refused: int = 0
    requests_ignored: int = 0
    reconnects: int = 0


@dataclass(frozen=True)
class Snapshot:
    """Everything that is known at ``at``.

    Attributes
    ----------
    broker
        None for a station without one.
    device
        None where the machine's sensors are not watched.
    alarms, not_ready
        Lines 'kind: text'. Alarms need a person; what makes a station not ready keeps frames from being judged.
    """

    station: StationAddress
    at: datetime
    uptime_s: float
    version: str
    model: ModelIdentity
    events: Events
    source: SourceCounters
    outbox: OutboxState
    broker: BrokerState | None
    process: ProcessState
    temperature_c: float | None
    alarms: tuple[str, ...]
    not_ready: tuple[str, ...]
    device: DeviceState | None = None
    slots: SlotsInfo | None = None


def kinds(lines: tuple[str, ...]) -> dict[str, int]:
    """Count lines 'kind: text' by their kind."""
    found: dict[str, int] = {}
    for line in lines:
        kind = line.partition(":")[0]
        found[kind] = found.get(kind, 0) + 1
    return found
