"""The health message and the Prometheus endpoint say the same, number by number."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import pytest
from delivery import ADDRESS, MODEL, Durable, wait_for
from prometheus_client.parser import text_string_to_metric_families
from telemetry_parts import ask

from jetspect.device.monitor import DeviceState
from jetspect.device.sensors import Sample
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.frames import LostCause, SourceCounters, TriggerCounters
from jetspect.runtime.results import Verdict
from jetspect.runtime.settings import parse_settings
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.telemetry.catalogue import METRICS, Metric, markdown
from jetspect.runtime.telemetry.health import health_message
from jetspect.runtime.telemetry.process import ProcessState
from jetspect.runtime.telemetry.prometheus import exposition
from jetspect.runtime.telemetry.snapshot import BrokerState, Events, OutboxState, Snapshot
from jetspect.runtime.telemetry.stages import STAGES, StageTimes

REPOSITORY = Path(__file__).resolve().parents[3]
Scraped = dict[str, list[tuple[dict[str, str], float]]]


def scrape(text: str) -> Scraped:
    """Read an exposition with the reader of prometheus-client."""
    found: Scraped = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def leaves(node: Any, path: str = "") -> dict[str, float]:
    """Every number of a health message by its path."""
    if isinstance(node, dict):
        return {k: v for key, value in node.items() for k, v in leaves(value, f"{path}.{key}" if path else key).items()}
    return {path: float(node)} if isinstance(node, (bool, int, float)) else {}


def quantile_s(q: float, buckets: list[tuple[float, float]]) -> float:
    """histogram_quantile() of Prometheus, after its documentation."""
    rank = q * buckets[-1][1]
    low = below = 0.0
    for bound, upto in buckets:
        if upto >= rank and upto > below:
            return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (upto - below)
        low, below = bound, upto
    raise AssertionError("no observation")


def compare(health: dict[str, Any], scraped: Scraped) -> None:
    """Every number of one is a number of the other."""
    numbers, seen = leaves(health), set()
    assert set(health["dropped"]) == {c.value for c in LostCause}
    for metric in METRICS:
        for labels, value in samples(metric, scraped):
            assert labels.pop("unit") == health["station"]["unit"]
            path = metric.health
            for label in metric.labels:
                path = path.replace(f"[{label}]", f".{labels[label]}").lstrip(".")
            if path == "ok, nok, unknown":
                path = labels["verdict"].lower()
            if metric.kind == "histogram":
                seen |= compare_stage(health["stages"][labels["stage"]], labels["stage"], scraped)
            elif path == "not_ready" and not metric.labels:
                assert value == (not health["not_ready"])
            elif path in ("not_ready", "alarms"):
                assert value == sum(line.split(":")[0] == labels["kind"] for line in health[path])
            elif path == "build":
                model = health["build"]["model"]
                assert labels == {**{n: model[n] for n in ("manifest_sha256", "precision", "engine")},
                                  "version": health["build"]["jetspect"], "model": model["name"],
                                  "model_version": model["version"]}  # fmt: skip
            elif path == "station":
                assert labels == {n: health["station"][n] for n in ("namespace", "site", "area", "line")}
            else:
                assert value == pytest.approx(numbers[path] / metric.per, rel=1e-9), metric.name
                seen.add(path)
    assert numbers.keys() - seen == set(), "in the health message alone"


def samples(metric: Metric, scraped: Scraped) -> list[tuple[dict[str, str], float]]:
    name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
    return [(dict(labels), value) for labels, value in scraped.get(name, [])]


def compare_stage(said: dict[str, Any], stage: str, scraped: Scraped) -> set[str]:
    def of(suffix: str) -> list[tuple[dict[str, str], float]]:
        return [(x, v) for x, v in scraped[f"jetspect_stage_seconds_{suffix}"] if x["stage"] == stage]

    assert of("count")[0][1] == said["count"]
    assert of("sum")[0][1] == pytest.approx(said["sum_ms"] / 1000, rel=1e-9)
    buckets = [(float(x["le"]), v) for x, v in of("bucket")]
    assert buckets[-1] == (math.inf, said["count"])
    for name, q in (("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99)):
        if not said["count"]:
            assert said[name] is None
        elif not math.isinf(quantile_s(q, buckets)) and said["max_ms"] < 60_000:
            assert said[name] == pytest.approx(min(1000 * quantile_s(q, buckets), said["max_ms"]))
    return {f"stages.{stage}.{n}" for n in ("count", "sum_ms", "p50_ms", "p90_ms", "p99_ms")}


def distinct() -> Snapshot:
    """A snapshot in which every number is another one, so that none can stand in for its neighbour."""
    numbers = iter(range(1001, 2000))
    times = StageTimes()
    for count, stage in enumerate(STAGES, 1):
        for n in range(count):
            times.add(stage, count + 7.3 * n)
    return Snapshot(
        station=ADDRESS,
        at=datetime(2026, 1, 1, tzinfo=timezone.utc),
        uptime_s=next(numbers) + 0.5,
        version="1.2.3",
        model=MODEL,
        events=Events(
            frames=next(numbers),
            inspected=next(numbers),
            verdicts={v: next(numbers) for v in Verdict},
            lost={c: next(numbers) for c in LostCause},
            parts={v: next(numbers) for v in Verdict},
            defects={'odd "name"\n\\': next(numbers), "pit": next(numbers)},
            evidence_failed=next(numbers),
            stages=times.histograms(),
            waiting=next(numbers),
            last_frame_s=next(numbers) + 0.1,
            last_result_s=next(numbers) + 0.2,
        ),
        source=SourceCounters(
            False,
            *(next(numbers) for _ in range(4)),
            triggers=TriggerCounters(next(numbers), next(numbers), next(numbers)),
        ),
        outbox=OutboxState(next(numbers), next(numbers) + 0.3, next(numbers), {"mes": next(numbers)}),
        broker=BrokerState(True, *(next(numbers) for _ in range(5))),
        process=ProcessState(next(numbers), next(numbers)),
        temperature_c=51.25,
        alarms=("disk_full: a", "outbox_damaged: b", "outbox_damaged: c"),
        not_ready=("source: away",),
        device=DeviceState(
            Sample(
                {"gpu-thermal": next(numbers) + 0.5, "odd.zone": next(numbers)},
                {"VDD_IN": next(numbers)},
                {"cpu": next(numbers), "gpu": next(numbers)},
                {"gpu": next(numbers)},
                next(numbers),
                next(numbers),
            ),
            ("over-current",),
            next(numbers) + 0.25,
            next(numbers),
        ),
    )


def test_every_number_of_one_snapshot_is_the_same_in_both() -> None:
    snapshot = distinct()
    compare(json.loads(health_message(snapshot).payload()), scrape(exposition(snapshot).decode()))


def test_a_station_without_a_broker_shows_nothing_of_one() -> None:
    snapshot = dataclasses.replace(distinct(), broker=None)
    health = json.loads(health_message(snapshot).payload())
    assert (health["broker_online"], health["published"], health["refused"]) == (None, 0, 0)
    shown = scrape(exposition(snapshot).decode())
    assert not {m.name for m in METRICS if m.health in ("broker_online", "published", "reconnects")} & shown.keys()


def test_a_station_that_watches_no_sensors_shows_none() -> None:
    snapshot = dataclasses.replace(distinct(), device=None)
    assert json.loads(health_message(snapshot).payload())["device"] is None
    assert not {n for n in scrape(exposition(snapshot).decode()) if n.startswith("jetspect_device_")}


def test_names_follow_the_conventions_of_prometheus() -> None:
    text = exposition(distinct()).decode()
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
    for metric in METRICS:
        assert re.fullmatch(r"(jetspect|process)_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert f"# TYPE {metric.name} {metric.kind}\n" in text
        assert not metric.name.endswith(("_ms", "_mb", "_s"))
    assert len({m.name for m in METRICS}) == len(METRICS)


def test_the_documentation_lists_every_metric() -> None:
    """After a change put the table of catalogue.markdown() into the file; this message shows it."""
    assert markdown() in (REPOSITORY / "docs" / "observability.md").read_text(), f"\n{markdown()}"


def test_consumers_with_many_names_do_not_make_many_series() -> None:
    many = OutboxState(receipts={f"c{n:05d}": n for n in range(5000)})
    made = scrape(exposition(dataclasses.replace(distinct(), outbox=many)).decode())
    assert len(made["jetspect_receipt_seq"]) == 20


def test_a_station_with_a_broker_says_the_same_on_both_ways_and_is_ready_while_it_runs(
    tmp_path: Path, metal_demo: Path, mosquitto: Callable[..., Any]
) -> None:
    """Real parts from the camera's folder to the broker; compared when all is delivered and the line waits for more."""
    images = tmp_path / "images"
    images.mkdir()
    for n in range(3):
        cv2.imwrite(str(images / f"{n}.png"), render_part(100 + n, (320, 240), texture="brushed", defects=n).image)
    (images / "9-cut.png").write_bytes((images / "0.png").read_bytes()[:2000])
    (tmp_path / "outbox.sqlite.damaged-20260101").write_bytes(b"left from before")
    broker = mosquitto()
    config = parse_settings(
        {
            "station": {"site": "s", "area": "a", "line": "l", "unit": "island-3"},
            "bundle": {"path": str(metal_demo)},
            "source": {"kind": "folder", "path": str(images), "watch": True, "patience_s": 0, "poll_s": 0.05},
            "outbox": {"path": str(tmp_path / "outbox.sqlite")},
            "broker": {"host": "127.0.0.1", "port": broker.port},
            "metrics": {"port": 0},
            "health_s": 1,
        },
        StationConfig,
        where="test",
    )
    durable = Durable(broker.port)
    with build_station(config) as station:
        assert station.metrics is not None
        port = station.metrics.port
        before = ask(port, "/healthz")
        assert (before.status, before.body) == (503, b"not_running: the station has not started\n")
        thread = threading.Thread(target=station.run)
        thread.start()
        try:
            wait_for(lambda: len(durable.seen()) >= 4, 30)
            wait_for(lambda: station.health().stages["deliver"].count == 4, 10)
            assert ask(port, "/healthz").body == b"ok\n"
            snapshot = station.telemetry.snapshot()
            health = json.loads(health_message(snapshot).payload())
            compare(health, scrape(exposition(snapshot).decode()))
            served = scrape(ask(port, "/metrics").body.decode())
        finally:
            station.stop()
            thread.join(timeout=30)
            durable.close()
        assert ask(port, "/healthz").status == 503
    counted = ("frames", "inspected", "published", "acknowledged", "queue_waiting", "outbox_pending")
    assert [health[name] for name in counted] == [4, 4, 4, 4, 0, 0]
    assert {cause: n for cause, n in health["dropped"].items() if n} == {"unreadable": 1}
    assert {s: health["stages"][s]["count"] for s in ("engine", "total", "record", "deliver")} == {
        "engine": 3, "total": 3, "record": 4, "deliver": 4}  # fmt: skip
    assert health["outbox_bytes"] > 0
    assert health["process"]["rss_bytes"] > 50_000_000
    assert health["build"]["model"]["name"] == "metal-demo"
    assert [line.split(":")[0] for line in health["alarms"]] == ["outbox_damaged"]
    assert served["jetspect_frames_total"] == [({"unit": "island-3"}, 4.0)]
    assert sum(v for _, v in served["jetspect_verdicts_total"]) == 4
