"""Latencies count from when an arrival was due, and a rate is kept where nothing is dropped."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from jetspect.benchmarks.latency import Load, for_bench, search
from jetspect.benchmarks.latency_report import histogram, notes, quantiles
from jetspect.benchmarks.memory_source import MemorySource
from jetspect.benchmarks.open_loop import Arrivals, OpenLoop
from jetspect.errors import PublishError
from jetspect.runtime.config import StationConfig
from jetspect.runtime.frames import Frame, LostCause, LostFrame
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.message_base import StationAddress
from jetspect.runtime.results import Inspection, ModelIdentity, Verdict
from jetspect.runtime.settings import parse_settings
from tests.helpers.commands import REPOSITORY, jetspect

BUNDLE = REPOSITORY / "bundles" / "metal-demo"
STATION = f"""
[station]
site = "plant"
area = "press"
line = "l1"
unit = "island"
[bundle]
path = "{BUNDLE}"
[source]
kind = "synthetic"
size_wh = [208, 208]
[tiling]
tile_px = 208
[engine]
threads = 1
[broker]
host = "nowhere.invalid"
client_id = "island"
protocol = "3.1.1"
"""
MODEL = ModelIdentity("m", "1", "0" * 64, "fp32", "none")
ADDRESS = StationAddress(namespace="n", site="s", area="a", line="l", unit="u")


class Answers:
    """Stands where the station would: tells the loop of results as it is asked to."""

    def __init__(self, loop: OpenLoop) -> None:
        self._loop, self._seq = loop, 0

    def record(self, part_id: str, *, lost: bool = False) -> int:
        self._seq += 1
        frame: Frame | LostFrame = Frame(np.zeros((16, 16), np.uint8), part_id, part_id=part_id)
        if lost:
            frame = LostFrame(part_id, "dropped", part_id=part_id, cause=LostCause.QUEUE_FULL)
        verdict = Verdict.UNKNOWN if lost else Verdict.OK
        now = frame.captured_at
        inspection = Inspection(part_id, now, now, verdict, (), (), (16, 16), MODEL, part_id=part_id)
        self._loop.on_result(frame, inspection, result_message(inspection, ADDRESS, self._seq, "e" * 36))
        return self._seq

    def take(self, part_id: str, *, lost: bool = False) -> None:
        self._loop.on_acknowledged([self.record(part_id, lost=lost)])


def test_an_arrival_that_is_sent_late_counts_from_when_it_was_due() -> None:
    """What sends is held up for 100 ms once; a load that waited would show one slow part, here all behind it are late."""
    loop = OpenLoop(1)
    answers, sent = Answers(loop), []

    def trigger(part_id: str) -> None:
        sent.append(part_id)
        if len(sent) == 5:
            threading.Event().wait(0.1)
        answers.take(part_id)

    run = loop.run(trigger, 200, 0.2)
    assert run.sent == len(run.latency_ms) == 40 and run.lost == {}
    late = [ms for ms in run.latency_ms if ms > 20]
    assert len(late) >= 14, "100 ms at 200/s are 20 parts, which wait for 100, 95, 90, ... ms"
    assert max(run.latency_ms) >= 100 and run.late_ms >= 90
    assert all(r <= a for r, a in zip(run.recorded_ms, run.latency_ms, strict=True))


def test_a_part_of_several_views_ends_with_its_last_puback() -> None:
    loop = OpenLoop(2)
    answers = Answers(loop)

    def trigger(part_id: str) -> None:
        answers.take(part_id)
        seq = answers.record(part_id)
        threading.Timer(0.05, loop.on_acknowledged, ([seq],)).start()

    run = loop.run(trigger, 100, 0.02)
    assert run.sent == 2 and min(run.latency_ms) >= 50 > max(run.recorded_ms)


def test_a_puback_may_come_before_the_result_is_told() -> None:
    loop = OpenLoop(1)
    answers = Answers(loop)

    def trigger(part_id: str) -> None:
        loop.on_acknowledged([1])
        answers.record(part_id)

    assert len(loop.run(trigger, 100, 0.01).latency_ms) == 1


def test_a_run_may_end_at_its_first_loss() -> None:
    loop = OpenLoop(1)
    answers, count = Answers(loop), iter(range(10_000))
    run = loop.run(lambda part: answers.take(part, lost=next(count) == 3), 100, 60, stop_when_lost=True)
    assert run.ended_early and run.lost == {"queue_full": 1} and run.dropped == 1
    assert run.sent < 20 and len(run.latency_ms) == run.sent - 1


def test_a_station_that_ends_ends_the_run() -> None:
    loop = OpenLoop(1)
    with pytest.raises(PublishError, match="1 results were not acknowledged: the station ended"):
        loop.run(lambda _: loop.ended(), 100, 60)


class Limited(Load):
    """Drops what comes faster than its capacity."""

    def __init__(self, capacity: float) -> None:
        self._capacity, self.lengths = capacity, list[float]()

    def at(self, rate: float, seconds: float, *, stop_when_lost: bool = False) -> Arrivals:
        self.lengths.append(seconds)
        lost = {"queue_full": 1} if rate > self._capacity else {}
        return Arrivals(rate, seconds, 100, (1.0,), (1.0,), lost, 0.0, bool(lost))

    def warm_up(self) -> float:
        return 0.01


@pytest.mark.parametrize("capacity", [0.05, 7.0, 100.0, 1234.5])
def test_the_highest_rate_is_found_from_below_and_from_above(capacity: float) -> None:
    load = Limited(capacity)
    found = search(load, 10, resolution=0.05)
    assert found.kept is not None and found.dropped is not None
    assert found.kept.rate <= capacity < found.dropped.rate <= 1.0501 * found.kept.rate
    assert min(load.lengths) == 10 and len(found.tries) < 30
    assert capacity > 1 or max(load.lengths) >= 20 / capacity / 1.5, "slow stations get long runs"


def test_a_station_that_keeps_every_rate_and_one_that_keeps_none() -> None:
    fast = search(Limited(1e9), 1)
    assert fast.kept is not None and fast.kept.rate == 5000 and fast.dropped is None
    none = search(Limited(0.0), 1)
    assert none.kept is None and none.dropped is not None


def test_what_is_measured_touches_nothing_of_the_plant(tmp_path: Path) -> None:
    file = {
        "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": "b"},
        "source": {"kind": "synthetic"},
        "broker": {"host": "plant", "client_id": "u", "max_inflight": 7},
        "queue": {"frames": 3},
        "evidence": {"folder": "/var/evidence"},
        "metrics": {},
        "outbox": {"path": "/var/outbox.sqlite"},
    }
    config = parse_settings(file, StationConfig, where="here")
    bench = for_bench(config, tmp_path, BrokerSettings(host="127.0.0.1", port=1))
    assert bench.station.unit == "u-bench" and bench.broker is not None and bench.evidence is not None
    assert (bench.broker.host, bench.broker.client_id, bench.broker.max_inflight) == ("127.0.0.1", "", 7)
    assert bench.outbox.path.parent == bench.evidence.folder.parent == tmp_path
    assert bench.metrics is None and (bench.queue.frames, bench.queue.policy) == (3, "drop_newest")


def test_a_memory_source_delivers_what_is_fired_and_stops() -> None:
    images = [np.full((16, 16), n, np.uint8) for n in range(2)]
    source = MemorySource(images)
    for _ in range(3):
        source.fire()
    frames = iter(source)
    assert [int(next(frames).image[0, 0]) for _ in range(3)] == [0, 1, 0]  # type: ignore[union-attr]
    source.stop()
    assert list(frames) == []


def test_percentiles_and_histogram_hold_every_sample() -> None:
    samples = [float(n) for n in range(1, 1002)]
    assert quantiles(samples)["p50"] == 501 and quantiles(samples)["longest"] == 1001
    assert sum(b["count"] for b in histogram(samples)) == 1001
    assert sum(b["count"] for b in histogram([5.0])) == 1
    assert histogram([]) == [] and quantiles([]) == {}


def test_a_short_run_says_what_it_may_hide() -> None:
    found = search(Limited(7.0), 1)
    assert found.kept is not None
    few = Arrivals(7.0, 1.0, 24, (1.0,), (1.0,), {"queue_full": 2}, 50.0, False)
    said = " ".join(notes(few, type(found)(few, None, ()), 4))
    assert "up to 20 % of its rate" in said and "50 ms late" in said and "2 of 24 parts were dropped" in said


def test_a_station_is_measured_from_trigger_to_puback(tmp_path: Path) -> None:
    """With a real broker; that of the file, which does not exist, is left alone."""
    (tmp_path / "station.toml").write_text(STATION)
    words = ("bench", "latency", tmp_path / "station.toml", "--rate", 10, "--seconds", 0.5, "--folder", tmp_path)
    done = jetspect(*words, "--out", tmp_path / "out", "--history", tmp_path / "h", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    run = record["result"]["run"]
    assert run["sent"] == 5 and run["lost"] == {}
    spent = run["trigger_to_puback_ms"]
    assert 1 < spent["p50"] <= spent["p99"] <= spent["longest"]
    assert 0 < run["trigger_to_outbox_ms"]["p50"] <= spent["p50"]
    assert (
        record["series"][0]["name"] == "island, trigger to PUBACK at 10/s" and len(record["series"][0]["samples"]) == 5
    )
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["h", "out", "station.toml"], "nothing stays behind"


@pytest.mark.parametrize(
    ("change", "words", "said"),
    [
        (("[broker]", "[brocker]"), (), "brocker: unknown key"),
        (
            ("[tiling]", "[checks]\nsize_wh = [100, 100]\n[tiling]"),
            ("--size", "208x208"),
            "judges none of these frames",
        ),
        (("", ""), ("--images", "nowhere"), "holds no image"),
        (("", ""), ("--station-broker", "--host", "x"), "--station-broker needs"),
        (("", ""), ("--folder", "nowhere"), "does not exist"),
        (("", ""), ("--rate", "0"), "0.001"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    change: tuple[str, str], words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    (tmp_path / "station.toml").write_text(STATION.replace(*change) if change[0] else STATION)
    done = jetspect("bench", "latency", "station.toml", "--seconds", 1, *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
