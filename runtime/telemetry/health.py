"""A snapshot as the message on ``.../health``."""

from __future__ import annotations

from dataclasses import asdict

from jetspect.device.monitor import DeviceState
from jetspect.runtime.publishing.health_message import (
    BuildInfo,
    DeviceStateInfo,
    HealthMessage,
    ProcessInfo,
    SourceInfo,
    StageInfo,
)
from jetspect.runtime.publishing.message_base import model_info
from jetspect.runtime.results import Verdict
from jetspect.runtime.telemetry.snapshot import BrokerState, Snapshot
from jetspect.runtime.telemetry.stages import Histogram


def health_message(s: Snapshot) -> HealthMessage:
    """Put a snapshot into the message that is published for it."""
    broker = s.broker or BrokerState()
    return HealthMessage(
        station=s.station,
        at=s.at,
        uptime_s=s.uptime_s,
        frames=s.events.frames,
        inspected=s.events.inspected,
        ok=s.events.verdicts[Verdict.OK],
        nok=s.events.verdicts[Verdict.NOK],
        unknown=s.events.verdicts[Verdict.UNKNOWN],
        dropped={cause.value: count for cause, count in s.events.lost.items()},
        evidence_failed=s.events.evidence_failed,
        outbox_pending=s.outbox.pending,
        outbox_oldest_s=s.outbox.oldest_s,
        published=broker.published,
        acknowledged=broker.acknowledged,
        reconnects=broker.reconnects,
        alarms=s.alarms,
        receipts=dict(s.outbox.receipts or {}),
        temperature_c=s.temperature_c,
        source=SourceInfo(**asdict(s.source)),
        parts={verdict.value: count for verdict, count in s.events.parts.items()},
        not_ready=s.not_ready,
        defects=dict(s.events.defects),
        stages={stage: _stage(times) for stage, times in s.events.stages.items()},
        queue_waiting=s.events.waiting,
        last_frame_s=s.events.last_frame_s,
        last_result_s=s.events.last_result_s,
        outbox_bytes=s.outbox.disk_bytes,
        broker_online=None if s.broker is None else s.broker.online,
        refused=broker.refused,
        requests_ignored=broker.requests_ignored,
        process=ProcessInfo(rss_bytes=s.process.rss_bytes, open_files=s.process.open_files),
        slots=s.slots,
        build=BuildInfo(jetspect=s.version, model=model_info(s.model)),
        device=None if s.device is None else _device(s.device),
    )


def _device(state: DeviceState) -> DeviceStateInfo:
    sample = state.sample
    return DeviceStateInfo(
        temperatures_c=dict(sample.temperatures_c),
        power_w=dict(sample.power_w),
        clocks_mhz=dict(sample.clocks_mhz),
        loads=dict(sample.loads),
        fan_rpm=sample.fan_rpm,
        memory_available_bytes=sample.memory_available_bytes,
        throttled_by=state.throttled_by,
        throttled_s=state.throttled_s,
        over_current_events=state.over_current_events,
    )


def _stage(times: Histogram) -> StageInfo:
    return StageInfo(
        count=times.count,
        sum_ms=times.sum_ms,
        p50_ms=times.quantile_ms(0.5),
        p90_ms=times.quantile_ms(0.9),
        p99_ms=times.quantile_ms(0.99),
        max_ms=times.max_ms,
    )
