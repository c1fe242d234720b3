"""Run a station for as long as you like while its camera and its broker are killed, paused and made lossy at random.

A line controller triggers parts over MQTT; the station triggers a GigE Vision camera on loopback by software, inspects, and
publishes through mosquitto. At the end every trigger is accounted for, and memory and open files must not have grown.

    python -m benchmarks.soak --minutes 60 --seed 1 --out benchmarks/results/soak.json
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jetspect import __version__
from jetspect.benchmarks.plant import GigeCamera, Mosquitto, StationProcess, wait_until
from jetspect.benchmarks.process_memory import Usage, usage
from jetspect.benchmarks.soak_controller import Controller
from jetspect.benchmarks.soak_ledger import Ledger, balance
from jetspect.device.probe import probe
from jetspect.errors import PublishError
from jetspect.runtime.publishing.topics import Topics

TOPICS = Topics("jetspect", "soak", "soak", "soak", "soak")
BUNDLE = Path(__file__).resolve().parents[1] / "bundles" / "metal-demo"
_DEADLINE_MS = 400
_STATION = """
health_s = 1.0
drain_s = 60.0
[station]
site = "soak"
area = "soak"
line = "soak"
unit = "soak"
[bundle]
path = {bundle}
[source]
kind = "gige"
ip = "127.0.0.1"
trigger = "Software"
roi = [0, 0, 512, 384]
packet_size = 1400
retry_s = 0.2
retry_max_s = 2.0
[trigger]
kind = "mqtt"
fire = "software"
deadline_ms = {deadline}
[checks]
min_contrast = 0.0
[outbox]
path = {outbox}
[broker]
host = "127.0.0.1"
port = {port}
keepalive_s = 5
"""


@dataclass
class Faults:
    """Takes parts of the plant away, one at a time."""

    camera: GigeCamera
    broker: Mosquitto
    random: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def run(self, stop: threading.Event) -> None:
        """Inject a fault every few seconds until stopped; everything stands again afterwards."""
        kinds = (self._camera_killed, self._camera_lossy, self._broker_killed, self._broker_hangs)
        while not stop.wait(self.random.uniform(2, 6)):
            fault = self.random.choice(kinds)
            self.done[fault.__name__.removeprefix("_").replace("_", " ")] += 1
            fault(stop)

    def _camera_killed(self, stop: threading.Event) -> None:
        self.camera.kill()
        stop.wait(self.random.uniform(0.2, 4))
        self.camera.start()

    def _camera_lossy(self, stop: threading.Event) -> None:
        self.camera.kill()
        self.camera.start("-r", "5")  # of a thousand packets
        stop.wait(self.random.uniform(2, 5))
        self.camera.kill()
        self.camera.start()

    def _broker_killed(self, stop: threading.Event) -> None:
        self.broker.kill()
        stop.wait(self.random.uniform(0.1, 4))
        self.broker.start()

    def _broker_hangs(self, stop: threading.Event) -> None:
        self.broker.pause()
        stop.wait(self.random.uniform(0.5, 9))
        self.broker.go_on()


@dataclass(frozen=True)
class Outcome:
    """What a soak found."""

    seconds: float
    seed: int
    faults: dict[str, int]
    ledger: Ledger
    usage: Usage
    exit_code: int

    @property
    def ok(self) -> bool:
        return not self.ledger.unexplained and self.usage.flat and self.exit_code == 0


def soak(seconds: float, seed: int, folder: Path, *, bundle: Path = BUNDLE) -> Outcome:
    """Run everything for so long, then let the outbox empty itself and balance the accounts.

    Raises
    ------
    MissingDependencyError
        mosquitto or aravis-tools is not installed.
    PublishError
        A part of the plant does not come up, or results do not arrive after the last fault.
    """
    broker, camera = Mosquitto(folder), GigeCamera("SOAK01")
    path, log = folder / "station.toml", folder / "station.log"
    quoted = {"bundle": json.dumps(str(bundle.resolve())), "outbox": json.dumps(str(folder / "outbox.sqlite"))}
    path.write_text(_STATION.format(port=broker.port, deadline=_DEADLINE_MS, **quoted))
    station = StationProcess(path, log)
    samples: list[tuple[float, int]] = []
    try:
        broker.start()
        camera.start()
        station.start()
        controller = Controller(broker.port, TOPICS)
        try:
            wait_until(lambda: controller.online, 60, f"the station does not come online, see {log}")
            faults = Faults(camera, broker, random.Random(seed))
            _drive(controller, station, faults, seconds, seed, samples)
            wait_until(lambda: _settled(controller, log), 120, f"results do not all arrive, see {log}")
            wait_until(lambda: _counted(controller, log), 30, "the station's counters do not arrive")
            code = station.end()
        finally:
            controller.close()
    finally:
        for part in (station, camera, broker):
            part.kill()
    ledger = balance(
        controller.sent,
        _recorded(log),
        controller.received,
        controller.repeated,
        controller.health,
        controller.connections,
    )
    return Outcome(seconds, seed, dict(sorted(faults.done.items())), ledger, usage(samples), code)


def _drive(
    controller: Controller,
    station: StationProcess,
    faults: Faults,
    seconds: float,
    seed: int,
    samples: list[tuple[float, int]],
) -> None:
    """Trigger parts at uneven times while faults come and go."""
    stop = threading.Event()
    breaking = threading.Thread(target=faults.run, args=(stop,), daemon=True)
    breaking.start()
    pace, end, number, sampled = random.Random(seed + 1), time.monotonic() + seconds, 0, 0.0
    try:
        while time.monotonic() < end:
            if not station.alive:
                raise PublishError("the station ended by itself")
            if controller.online:
                number += 1
                controller.trigger(f"P{number:07d}")
            if time.monotonic() - sampled >= 0.5:
                sampled = time.monotonic()
                samples.append(station.usage())
            time.sleep(pace.uniform(_DEADLINE_MS / 1e3 + 0.05, 1.0))
    finally:
        stop.set()
        breaking.join(timeout=60)


def _recorded(log: Path) -> list[dict[str, Any]]:
    lines = log.read_text("utf-8", errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def _settled(controller: Controller, log: Path) -> bool:
    """Whether the broker took every trigger, everything that was accepted is recorded, and everything recorded received."""
    if not controller.note_pubacks():
        return False
    recorded = _recorded(log)
    parts = {r["frame"]["part_id"] for r in recorded}
    accepted = {part for part, sent in list(controller.sent.items()) if sent.answer == "accepted"}
    return accepted <= parts and {r["event_id"] for r in recorded} <= controller.received.keys()


def _counted(controller: Controller, log: Path) -> bool:
    """Whether the last health message was sent after the last result, and after that was delivered."""
    health = controller.health
    return int(health.get("inspected", -1)) >= len(_recorded(log)) and health.get("outbox_pending") == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    parser.add_argument("--out", type=Path, help="JSON file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jetspect-soak-") as folder:
        found = soak(60 * options.minutes, options.seed, Path(folder), bundle=options.bundle)
    text = json.dumps(
        {
            "jetspect": __version__,
            "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": probe().as_dict(),
            "ok": found.ok,
            **asdict(found),
            "flat": found.usage.flat,
        },
        indent=2,
    )
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    sys.exit(0 if found.ok else 1)


if __name__ == "__main__":
    main()
