"""Every metric of a station: its name, what it means, and the field of the health message that holds the same number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from jetspect.device.monitor import DeviceState
from jetspect.device.sensors import Sample
from jetspect.runtime.frames import TriggerCounters
from jetspect.runtime.telemetry.snapshot import BrokerState, Snapshot, kinds
from jetspect.runtime.telemetry.stages import Histogram

Kind = Literal["counter", "gauge", "histogram"]
Value = float | Histogram
Samples = Iterable[tuple[tuple[str, ...], Value]]
"""Values of the labels, in their order, and the number; of a histogram all of it."""

_MOST_CONSUMERS = 20  # their names come from outside


@dataclass(frozen=True)
class Metric:
    """One metric. Every sample has the label ``unit``, the station's inspection point, besides ``labels``.

    Attributes
    ----------
    health
        The health message's field; ``[label]`` stands for a key.
    per
        What the health message's number is divided by to get this one (its milliseconds are seconds here).
    """

    name: str
    kind: Kind
    help: str
    health: str
    read: Callable[[Snapshot], Samples]
    labels: tuple[str, ...] = ()
    per: float = 1.0


def _one(value: Callable[[Snapshot], float | None]) -> Callable[[Snapshot], Samples]:
    """A metric without labels; None: it is left out."""

    def read(s: Snapshot) -> Samples:
        number = value(s)
        return [] if number is None else [((), number)]

    return read


def _of_broker(value: Callable[[BrokerState], float]) -> Callable[[Snapshot], Samples]:
    """As :func:`_one`; a station without a broker has none, so that nobody is alarmed about it."""
    return _one(lambda s: None if s.broker is None else value(s.broker))


def _of_triggers(value: Callable[[TriggerCounters], float]) -> Callable[[Snapshot], Samples]:
    return _one(lambda s: None if s.source.triggers is None else value(s.source.triggers))


def _of_device(value: Callable[[DeviceState], float | None]) -> Callable[[Snapshot], Samples]:
    return _one(lambda s: None if s.device is None else value(s.device))


def _sensors(read: Callable[[Sample], Mapping[str, float]], times: float = 1.0) -> Callable[[Snapshot], Samples]:
    """One sample per sensor, by the kernel's name for it."""
    return lambda s: [] if s.device is None else [((n,), v * times) for n, v in read(s.device.sample).items()]


def _build(s: Snapshot) -> Samples:
    m = s.model
    return [((s.version, m.name, m.version, m.manifest_sha256, m.precision, m.engine), 1)]


def _station(s: Snapshot) -> Samples:
    a = s.station
    return [((a.namespace, a.site, a.area, a.line), 1)]


METRICS = (
    Metric("jetspect_ready", "gauge", "1 while frames can be judged, as /healthz says", "not_ready",
           _one(lambda s: not s.not_ready)),
    Metric("jetspect_not_ready", "gauge", "What keeps frames from being judged, by its kind", "not_ready",
           lambda s: [((kind,), n) for kind, n in kinds(s.not_ready).items()], ("kind",)),
    Metric("jetspect_alarms", "gauge", "What needs a person, by its kind", "alarms",
           lambda s: [((kind,), n) for kind, n in kinds(s.alarms).items()], ("kind",)),
    Metric("jetspect_uptime_seconds", "gauge", "Time since the station started", "uptime_s",
           _one(lambda s: s.uptime_s)),
    Metric("jetspect_frames_total", "counter", "Frames from the source, lost ones included", "frames",
           _one(lambda s: s.events.frames)),
    Metric("jetspect_inspected_total", "counter", "Frames with a verdict", "inspected",
           _one(lambda s: s.events.inspected)),
    Metric("jetspect_verdicts_total", "counter", "Verdicts", "ok, nok, unknown",
           lambda s: [((v.value,), n) for v, n in s.events.verdicts.items()], ("verdict",)),
    Metric("jetspect_parts_total", "counter", "Whole parts by verdict, with triggers", "parts[verdict]",
           lambda s: [((v.value,), n) for v, n in s.events.parts.items()], ("verdict",)),
    Metric("jetspect_frames_lost_total", "counter", "Frames lost, by cause; each is an UNKNOWN result", "dropped[cause]",
           lambda s: [((c.value,), n) for c, n in s.events.lost.items()], ("cause",)),
    Metric("jetspect_defects_total", "counter", "Defects described in results, by class", "defects[class]",
           lambda s: [((name,), n) for name, n in s.events.defects.items()], ("class",)),
    Metric("jetspect_stage_seconds", "histogram", "Time of each stage of a frame", "stages[stage]",
           lambda s: [((stage,), h) for stage, h in s.events.stages.items()], ("stage",), 1000.0),
    Metric("jetspect_stage_max_seconds", "gauge", "Longest time of each stage since the start", "stages[stage].max_ms",
           lambda s: [((stage,), h.max_ms / 1000.0) for stage, h in s.events.stages.items()], ("stage",), 1000.0),
    Metric("jetspect_queue_frames", "gauge", "Frames between the source and their verdict", "queue_waiting",
           _one(lambda s: s.events.waiting)),
    Metric("jetspect_last_frame_age_seconds", "gauge", "Age of the last frame from the source", "last_frame_s",
           _one(lambda s: s.events.last_frame_s)),
    Metric("jetspect_last_result_age_seconds", "gauge", "Age of the last result on the disk", "last_result_s",
           _one(lambda s: s.events.last_result_s)),
    Metric("jetspect_evidence_failures_total", "counter", "Frames whose pictures could not be kept", "evidence_failed",
           _one(lambda s: s.events.evidence_failed)),
    Metric("jetspect_outbox_pending", "gauge", "Results that no broker has acknowledged", "outbox_pending",
           _one(lambda s: s.outbox.pending)),
    Metric("jetspect_outbox_oldest_age_seconds", "gauge", "Age of the oldest of them", "outbox_oldest_s",
           _one(lambda s: s.outbox.oldest_s)),
    Metric("jetspect_outbox_size_bytes", "gauge", "Size of the outbox's files", "outbox_bytes",
           _one(lambda s: s.outbox.disk_bytes)),
    Metric("jetspect_receipt_seq", "gauge", f"Up to which seq a consumer has everything; the first {_MOST_CONSUMERS}",
           "receipts[consumer]", lambda s: [((name,), n) for name, n in sorted((s.outbox.receipts or {}).items())][
               :_MOST_CONSUMERS], ("consumer",)),
    Metric("jetspect_broker_online", "gauge", "1 while connected; left out, as all of the broker, without one", "broker_online",
           _of_broker(lambda b: b.online)),
    Metric("jetspect_broker_reconnects_total", "counter", "Connections to the broker after the first", "reconnects",
           _of_broker(lambda b: b.reconnects)),
    Metric("jetspect_published_total", "counter", "Results sent to the broker, repetitions included", "published",
           _of_broker(lambda b: b.published)),
    Metric("jetspect_acknowledged_total", "counter", "Results that the broker acknowledged", "acknowledged",
           _of_broker(lambda b: b.acknowledged)),
    Metric("jetspect_refused_total", "counter", "Results that the broker refused; each is tried again", "refused",
           _of_broker(lambda b: b.refused)),
    Metric("jetspect_requests_ignored_total", "counter", "Requests of consumers that were not carried out",
           "requests_ignored", _of_broker(lambda b: b.requests_ignored)),
    Metric("jetspect_source_connected", "gauge", "1 while the camera or stream is there", "source.connected",
           _one(lambda s: s.source.connected)),
    Metric("jetspect_source_reconnects_total", "counter", "How often it came back", "source.reconnects",
           _one(lambda s: s.source.reconnects)),
    Metric("jetspect_source_missed_total", "counter", "Frames that it sent and that never arrived", "source.missed",
           _one(lambda s: s.source.missed)),
    Metric("jetspect_source_packets_missing_total", "counter", "Network camera: packets lost", "source.packets_missing",
           _one(lambda s: s.source.packets_missing)),
    Metric("jetspect_source_packets_resent_total", "counter", "Network camera: packets that came when asked for again",
           "source.packets_resent", _one(lambda s: s.source.packets_resent)),
    Metric("jetspect_triggers_total", "counter", "Triggers; left out, as the next two, without any",
           "source.triggers.asked", _of_triggers(lambda t: t.asked)),
    Metric("jetspect_triggers_missed_total", "counter", "Frames that triggers asked for and that never came",
           "source.triggers.missed", _of_triggers(lambda t: t.missed)),
    Metric("jetspect_frames_unasked_total", "counter", "Frames that belong to no trigger", "source.triggers.unasked",
           _of_triggers(lambda t: t.unasked)),
    Metric("jetspect_temperature_celsius", "gauge", "Hottest thermal zone; left out where there is none",
           "temperature_c", _one(lambda s: s.temperature_c)),
    Metric("jetspect_device_temperature_celsius", "gauge", "Every thermal zone; left out, as all of it, where not measured",
           "device.temperatures_c[zone]", _sensors(lambda d: d.temperatures_c), ("zone",)),
    Metric("jetspect_device_power_watts", "gauge", "Every power rail", "device.power_w[rail]",
           _sensors(lambda d: d.power_w), ("rail",)),
    Metric("jetspect_device_clock_hertz", "gauge", "Clocks of cpu, gpu and emc (memory)", "device.clocks_mhz[part]",
           _sensors(lambda d: d.clocks_mhz, 1e6), ("part",), 1e-6),
    Metric("jetspect_device_load_ratio", "gauge", "Load of cpu and gpu, 0 to 1", "device.loads[part]",
           _sensors(lambda d: d.loads), ("part",)),
    Metric("jetspect_device_fan_rpm", "gauge", "Turns of the fan per minute", "device.fan_rpm",
           _of_device(lambda d: d.sample.fan_rpm)),
    Metric("jetspect_device_memory_available_bytes", "gauge", "Memory that programs can still get",
           "device.memory_available_bytes", _of_device(lambda d: d.sample.memory_available_bytes)),
    Metric("jetspect_device_throttled_seconds_total", "counter", "How long heat or over-current slowed the device",
           "device.throttled_s", _of_device(lambda d: d.throttled_s)),
    Metric("jetspect_device_over_current_total", "counter", "How often a power rail drew too much",
           "device.over_current_events", _of_device(lambda d: d.over_current_events)),
    Metric("process_resident_memory_bytes", "gauge", "Memory of the station's process", "process.rss_bytes",
           _one(lambda s: s.process.rss_bytes)),
    Metric("process_open_fds", "gauge", "Open file descriptors of the station's process", "process.open_files",
           _one(lambda s: s.process.open_files)),
    Metric("jetspect_build_info", "gauge", "What runs; always 1", "build", _build,
           ("version", "model", "model_version", "manifest_sha256", "precision", "engine")),
    Metric("jetspect_station_info", "gauge", "Where it stands; always 1", "station", _station,
           ("namespace", "site", "area", "line")),
)  # fmt: skip


def markdown() -> str:
    """The table of docs/observability.md."""
    lines = ["| metric | labels | health message | what |", "|---|---|---|---|"]
    for m in METRICS:
        labels = ", ".join(m.labels)
        lines.append(f"| `{m.name}` ({m.kind}) | {labels} | `{m.health}` | {m.help} |")
    return "\n".join(lines)
