"""A snapshot as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jetspect.errors import MissingDependencyError
from jetspect.runtime.telemetry.catalogue import METRICS, Metric
from jetspect.runtime.telemetry.snapshot import Snapshot
from jetspect.runtime.telemetry.stages import BOUNDS_MS, Histogram

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def require_prometheus() -> None:
    """Raise MissingDependencyError where prometheus-client is not installed."""
    try:
        import prometheus_client  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "prometheus-client", "[metrics] in a station file", "pip install 'jetspect[metrics]'"
        ) from error


def exposition(snapshot: Snapshot) -> bytes:
    """Return the text that Prometheus scrapes, in format 0.0.4, which all its versions read."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class OneSnapshot(Collector):
        def collect(self) -> Iterator[Family]:
            return (_family(metric, snapshot) for metric in METRICS)

    registry = CollectorRegistry()
    registry.register(OneSnapshot())
    return generate_latest(registry)


def _family(metric: Metric, snapshot: Snapshot) -> Family:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    labels = ("unit", *metric.labels)
    samples = [((snapshot.station.unit, *values), value) for values, value in metric.read(snapshot)]
    if metric.kind == "histogram":
        times = HistogramMetricFamily(metric.name, metric.help, labels=labels)
        for values, value in samples:
            if isinstance(value, Histogram):
                times.add_metric(values, _buckets(value), value.sum_ms / metric.per)
        return times
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    made = kind(metric.name, metric.help, labels=labels)
    for values, value in samples:
        if not isinstance(value, Histogram):
            made.add_metric(values, float(value))
    return made


def _buckets(times: Histogram) -> list[tuple[str, float]]:
    bounds = [*(f"{bound / 1000.0:g}" for bound in BOUNDS_MS), "+Inf"]
    return list(zip(bounds, map(float, times.cumulative()), strict=True))
