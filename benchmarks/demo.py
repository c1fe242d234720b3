"""The main job on generated parts, end to end: camera, inspection, outbox, broker, subscriber, report."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetspect.benchmarks.broker import embedded_broker
from jetspect.benchmarks.report import write_report
from jetspect.benchmarks.stats import outside_engine, peak_memory_mb, stages
from jetspect.device.probe import probe
from jetspect.errors import InputError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig
from jetspect.runtime.consuming.reader import ResultReader
from jetspect.runtime.publishing.mqtt import BrokerSettings
from jetspect.runtime.publishing.result_message import ResultMessage
from jetspect.runtime.publishing.subscriber import MqttSubscriber
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.settings import parse_settings

Told = Callable[[ResultMessage, int], None]
MARKER = ".jetspect-demo"


@dataclass(frozen=True)
class Demo:
    """What a demo run left behind."""

    summary: dict[str, Any]
    report: Path
    results: Path
    images: Path


def run_demo(
    bundle: Path,
    out: Path,
    *,
    frames: int = 8,
    size_wh: tuple[int, int] = (5472, 3648),
    seed: int = 7,
    on_result: Told = lambda *_: None,
) -> Demo:
    """Run a station on the synthetic camera, receive its results over MQTT and write ``out``.

    Raises
    ------
    InputError
        ``out`` holds something else than an earlier demo.
    """
    _make_room(out)
    images = out / "images"
    started = time.perf_counter()
    with embedded_broker() as port:
        config = parse_settings(_station(bundle, out, port, frames, size_wh, seed), StationConfig, where="demo station")
        where = config.station
        topics = Topics(where.namespace, where.site, where.area, where.line, where.unit)
        broker = BrokerSettings(host="127.0.0.1", port=port, protocol="3.1.1")
        received: list[ResultMessage] = []
        with MqttSubscriber(broker, topics.result) as subscriber, build_station(config) as station:
            begun = time.perf_counter()
            unsent = _run_and_listen(station, subscriber, received, frames, on_result)
            wall_s = time.perf_counter() - begun
    results = out / "results.jsonl"
    results.write_text("".join(m.model_dump_json() + "\n" for m in received))
    timings = [m.timings_ms for m in received]
    inspected_mp = len(received) * size_wh[0] * size_wh[1] / 1e6
    summary: dict[str, Any] = {
        "machine": probe().as_dict(),
        "bundle": f"{received[0].model.name} {received[0].model.version}" if received else str(bundle),
        "engine": received[0].model.engine if received else "",
        "frame_wh": size_wh,
        "frames": frames,
        "received": len(received),
        "unsent": unsent,
        "verdicts": {v: sum(m.verdict.value == v for m in received) for v in ("OK", "NOK", "UNKNOWN")},
        "defects": sum(len(m.defects) for m in received),
        "tiles_per_frame": received[0].tiles if received else 0,
        "stages": [vars(s) for s in stages(timings)] if timings else [],
        "outside_engine": outside_engine(timings),
        "megapixels_per_s": inspected_mp / (sum(t["total"] for t in timings) / 1e3) if timings else 0.0,
        "station_s": wall_s,
        "whole_run_s": time.perf_counter() - started,
        "peak_memory_mb": peak_memory_mb(),
    }
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    report = write_report(out / "report.html", summary, received, images)
    return Demo(summary, report, results, images)


def _run_and_listen(
    station: Any, subscriber: MqttSubscriber, received: list[ResultMessage], frames: int, told: Told
) -> int:
    """Run the station in a thread of its own and collect its results as any consumer would."""
    from concurrent.futures import ThreadPoolExecutor

    reader = ResultReader()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(station.run)
        quiet = 0.0
        while quiet < 2.0:
            before = len(received)
            for topic, payload in subscriber.messages(quiet_s=0.2):
                result = reader.read(topic, payload)
                if result.message is not None and not result.repeated:
                    received.append(result.message)
                    told(result.message, frames)
                if len(received) == frames:
                    break
            quiet = 0.0 if len(received) > before or not running.done() else quiet + 0.2
            if len(received) == frames and running.done():
                break
        return int(running.result())


def _station(bundle: Path, out: Path, port: int, frames: int, size_wh: tuple[int, int], seed: int) -> dict[str, Any]:
    return {
        "station": {"site": "demo", "area": "press-shop", "line": "line-1", "unit": "island-1"},
        "bundle": {"path": str(bundle)},
        "source": {"kind": "synthetic", "size_wh": size_wh, "frames": frames, "seed": seed, "ok_share": 0.4},
        "optics": {"pixel_pitch_mm": 0.05},
        "queue": {"frames": 1},
        "broker": {"host": "127.0.0.1", "port": port, "protocol": "3.1.1"},
        "outbox": {"path": str(out / "outbox.sqlite")},
        "evidence": {"folder": str(out / "images"), "of": ["OK", "NOK", "UNKNOWN"], "max_crops": 4},
    }


def _make_room(out: Path) -> None:
    """Remove an earlier demo, and nothing else."""
    try:
        if out.exists():
            if not (out / MARKER).exists() and any(out.iterdir()):
                raise InputError(f"{out} exists and is not an earlier demo; choose another --out, nothing was touched")
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / MARKER).write_text("made by jetspect demo; replaced by the next one\n")
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}; choose another --out") from error
