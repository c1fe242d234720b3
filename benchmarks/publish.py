"""How many results a second go through outbox and broker, and how long one takes from verdict to PUBACK."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jetspect import __version__
from jetspect.benchmarks.plant import AT_ITS_END, Mosquitto, wait_until
from jetspect.errors import MissingDependencyError
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.describing import result_message
from jetspect.runtime.publishing.message_base import ModelInfo, StationAddress
from jetspect.runtime.publishing.messages import MetaMessage
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.results import Defect, Inspection, ModelIdentity, Verdict

_AHEAD = 2000  # results that may wait in the outbox while the pace is not set from outside
_MODEL = ModelIdentity("bench", "1", "0" * 64, "fp32", "none")
_ADDRESS = StationAddress(namespace="jetspect", site="bench", area="bench", line="bench", unit="bench")
_TOPICS = Topics(**_ADDRESS.model_dump())


@dataclass(frozen=True)
class PublishTimes:
    """One run. ``rate_wanted`` 0: as fast as it goes; latencies then contain the wait in the queue that this makes."""

    rate_wanted: float
    lines: int
    seconds: float
    results: int
    rate: float
    payload_bytes: int
    commit_p50_ms: float
    commit_p99_ms: float
    puback_p50_ms: float
    puback_p99_ms: float
    puback_max_ms: float
    samples_ms: tuple[float, ...] = ()
    """Verdict to PUBACK of every result, in their order."""


class _TimedOutbox(Outbox):
    """Notes when the PUBACK of each result was taken."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.acked_at: dict[int, float] = {}

    def ack(self, seqs: Iterable[int]) -> None:
        now, seqs = time.perf_counter(), list(seqs)
        for seq in seqs:
            self.acked_at.setdefault(seq, now)
        super().ack(seqs)


def bench_publish(
    folder: Path, broker: BrokerSettings, *, rate: float, seconds: float, lines: int = 4, defects: int = 3
) -> PublishTimes:
    """Commit and publish results from several threads, as several lines would, through one outbox.

    Parameters
    ----------
    rate
        Results a second, all lines together; a result that is late counts from when it was due. 0: as fast as it goes.
    folder
        Where the outbox is written; its disk is part of what is measured.

    Raises
    ------
    PublishError
        The broker does not take everything within a minute after the end.
    """
    verdict_at: dict[int, float] = {}
    commit_s: list[float] = []
    inspection = _inspection(defects)
    outbox = _TimedOutbox(folder / "outbox.sqlite")
    with outbox:
        publisher = MqttPublisher(broker, outbox, _TOPICS, _meta)
        publisher.start()
        wait_until(lambda: publisher.state == "online", 15, f"{broker.where} does not answer ({publisher.state})")
        begin = time.perf_counter() + 0.2

        def line(number: int) -> None:
            due, step = begin + (number / rate if rate else 0.0), lines / rate if rate else 0.0
            while due < begin + seconds:
                if rate:
                    time.sleep(max(0.0, due - time.perf_counter()))
                else:
                    while len(verdict_at) - len(outbox.acked_at) > _AHEAD:
                        time.sleep(0.001)
                    due = time.perf_counter()
                began = time.perf_counter()
                seq, _ = outbox.commit(
                    _TOPICS.result, lambda s, e: result_message(inspection, _ADDRESS, s, e).payload()
                )
                commit_s.append(time.perf_counter() - began)
                verdict_at[seq] = due
                publisher.notify()
                due += step

        threads = [threading.Thread(target=line, args=(n,)) for n in range(lines)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: len(outbox.acked_at) >= len(verdict_at), 60, f"{broker.where} did not take everything")
        publisher.close()
        puback_ms = [1e3 * (outbox.acked_at[seq] - at) for seq, at in sorted(verdict_at.items())]
        took_s = max(outbox.acked_at.values()) - begin
    commit = np.percentile(np.array(commit_s) * 1e3, (50, 99))
    puback = np.percentile(puback_ms, (50, 99, 100))
    size = len(result_message(inspection, _ADDRESS, 1, "0" * 36).payload())
    return PublishTimes(
        rate_wanted=rate,
        lines=lines,
        seconds=seconds,
        results=len(puback_ms),
        rate=len(puback_ms) / took_s,
        payload_bytes=size,
        commit_p50_ms=float(commit[0]),
        commit_p99_ms=float(commit[1]),
        puback_p50_ms=float(puback[0]),
        puback_p99_ms=float(puback[1]),
        puback_max_ms=float(puback[2]),
        samples_ms=tuple(puback_ms),
    )


@contextmanager
def own_mosquitto(folder: Path) -> Iterator[BrokerSettings]:
    """Run a mosquitto with persistence on a free loopback port.

    Raises
    ------
    MissingDependencyError
        mosquitto is not installed.
    """
    try:
        broker = Mosquitto(folder, store=AT_ITS_END)
    except MissingDependencyError as error:
        hint = "apt-get install mosquitto, or give --host"
        raise MissingDependencyError("mosquitto", "measuring the publishing", hint) from error
    try:
        broker.start()
        yield BrokerSettings(host="127.0.0.1", port=broker.port)
    finally:
        broker.end(10)


@contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A folder on the disk of ``beside`` that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="jetspect-bench-", dir=beside) as folder:
        yield Path(folder)


def _inspection(defects: int) -> Inspection:
    now = utc_now()
    outline = tuple((100 + 3 * n, 200 + (n * n) % 40) for n in range(16))
    found = tuple(
        Defect("pit", 900 + n, (100, 200, 148, 240), (124.5, 219.25), 0.93, 0.71, outline, False)
        for n in range(defects)
    )
    reasons = (f"{defects} defects, 0 allowed",) if defects else ()
    verdict = Verdict.NOK if defects else Verdict.OK
    return Inspection("bench-000001", now, now, verdict, reasons, found, (5472, 3648), _MODEL, part_id="P000001")


def _meta() -> MetaMessage:
    model = ModelInfo(name="bench", version="1", manifest_sha256="0" * 64, precision="fp32", engine="none")
    return MetaMessage(
        station=_ADDRESS,
        at=utc_now(),
        jetspect=__version__,
        model=model,
        classes=("pit",),
        tile_px=1,
        device={},
        golden="",
    )
