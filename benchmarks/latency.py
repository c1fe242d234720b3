"""One station end to end, from a trigger to the PUBACK of its result: latencies at a rate, and the highest rate it keeps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jetspect.benchmarks.memory_source import U8, MemorySource
from jetspect.benchmarks.open_loop import Arrivals, OpenLoop
from jetspect.errors import InputError, PublishError
from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import OutboxSettings, QueueSettings, StationConfig
from jetspect.runtime.publishing.broker import BrokerSettings
from jetspect.runtime.publishing.health_message import HealthMessage
from jetspect.runtime.sources.synthetic import SyntheticSettings, render_part
from jetspect.runtime.triggering.settings import MqttTrigger
from jetspect.runtime.triggering.source import TriggeredSource

IMAGES = 3
FEWEST = 20  # arrivals of a try, however slow a station is
_DEFAULT_WH = (5472, 3648)
_START_S = 30.0
_LEAST_RATE, _MOST_RATE = 0.001, 5000.0
Told = Callable[[Arrivals], None]


@dataclass(frozen=True)
class Found:
    """The highest rate at which nothing was dropped, the lowest at which something was, and every try."""

    kept: Arrivals | None
    dropped: Arrivals | None
    tries: tuple[Arrivals, ...]


class Load:
    """A running station whose cameras are memory."""

    def __init__(self, loop: OpenLoop, source: TriggeredSource, cameras: Mapping[str, MemorySource]) -> None:
        self._loop, self._source, self._cameras = loop, source, cameras

    def at(self, rate: float, seconds: float, *, stop_when_lost: bool = False) -> Arrivals:
        """Send parts at a rate; see :meth:`jetspect.benchmarks.open_loop.OpenLoop.run`."""
        return self._loop.run(self._send, rate, seconds, stop_when_lost=stop_when_lost)

    def warm_up(self) -> float:
        """Send single parts and return the shortest latency in seconds.

        Raises
        ------
        InputError
            The station cannot judge these frames, so that its times would say nothing.
        """
        spent_ms: list[float] = []
        for _ in range(3):
            run = self.at(1.0, 0.01)
            if run.unknown or run.lost:
                reason = next(iter((*self._loop.reasons, *run.lost)))
                raise InputError(f"the station judges none of these frames: {reason}; give --images that it would see")
            spent_ms += run.latency_ms
        return min(spent_ms) / 1e3

    def _send(self, part_id: str) -> None:
        self._source.trigger(part_id)
        for camera in self._cameras.values():
            camera.fire()


def search(load: Load, seconds: float, *, resolution: float = 0.05, told: Told = lambda _: None) -> Found:
    """Bisect for the highest rate at which nothing is dropped for so long; a run ends at its first loss."""
    tries: list[Arrivals] = []

    def passes(rate: float) -> bool:
        tries.append(load.at(rate, max(seconds, FEWEST / rate), stop_when_lost=True))
        told(tries[-1])
        return not tries[-1].dropped

    rate = min(_MOST_RATE, 1 / load.warm_up())
    low, high = 0.0, 0.0
    while not (low and high) and rate >= _LEAST_RATE:
        low, high = (rate, high) if passes(rate) else (low, rate)
        if low >= _MOST_RATE:
            break
        rate = min(_MOST_RATE, 1.5 * low) if not high else high / 1.5 if not low else rate
    while low and high and high / low > 1 + resolution:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if passes(middle) else (low, middle)
    kept = [a for a in tries if not a.dropped]
    lost = [a for a in tries if a.dropped]
    return Found(
        max(kept, key=lambda a: a.rate, default=None), min(lost, key=lambda a: a.rate, default=None), tuple(tries)
    )


@contextmanager
def loaded(config: StationConfig, images: Mapping[str, Sequence[U8]]) -> Iterator[Load]:
    """Run the station on frames from memory; ``config`` comes from :func:`for_bench`."""
    cameras = {view: MemorySource(images[view]) for view in config.sources}
    # As with a free-running camera: a frame that was asked for comes, and none is given up for being late.
    trigger = MqttTrigger(fire="next_frame", deadline_ms=60_000, transfer_ms=60_000)
    source, loop = TriggeredSource(cameras, trigger), OpenLoop(len(cameras))
    failure: list[BaseException] = []
    with build_station(
        config, source=source, on_result=loop.on_result, on_acknowledged=loop.on_acknowledged
    ) as station:

        def work() -> None:
            try:
                station.run()
            except BaseException as error:  # raised below
                failure.append(error)
            finally:
                loop.ended()

        thread = threading.Thread(target=work, name="jetspect-bench-station", daemon=True)
        thread.start()
        try:
            _await_ready(station.health, cameras.values(), thread)
            yield Load(loop, source, cameras)
        except PublishError:
            if failure:
                raise failure[0] from None
            raise
        finally:
            station.stop()
            thread.join(timeout=60)
    if failure:
        raise failure[0]


def for_bench(config: StationConfig, folder: Path, broker: BrokerSettings) -> StationConfig:
    """Return the station as it is measured: its model, engine, views and pictures; nothing that a plant would notice.

    Outbox and pictures go to ``folder``, results to ``broker``. A frame that finds the queue full is dropped, as the camera
    would have to drop it.
    """
    policy = "drop_newest" if config.queue.policy == "block" else config.queue.policy
    own = {} if config.broker is None else config.broker.model_dump(include={"protocol", "max_inflight"})
    own["client_id"] = ""  # that of the station itself would end its connection
    changes = {
        "trigger": None,
        "station": config.station.model_copy(update={"unit": f"{config.station.unit}-bench"}),
        "queue": QueueSettings(frames=config.queue.frames, policy=policy),
        "outbox": OutboxSettings(path=folder / "outbox.sqlite"),
        "broker": broker.model_copy(update=own),
        "evidence": None
        if config.evidence is None
        else config.evidence.model_copy(update={"folder": folder / "evidence"}),
        "metrics": None,
        "health_s": 1.0,
        "drain_s": 5.0,
    }
    return config.model_copy(update=changes)


def frames_for(config: StationConfig, size_wh: tuple[int, int] | None) -> dict[str, list[U8]]:
    """Render frames for every view, of the size that it is set up for."""
    rendered: dict[tuple[int, int], list[U8]] = {}
    found = {}
    for view, source in config.sources.items():
        own = source.size_wh if isinstance(source, SyntheticSettings) else None
        size = size_wh or config.inspectors[view].checks.size_wh or own or _DEFAULT_WH
        if size not in rendered:
            rendered[size] = [render_part(1 + n, size).image for n in range(IMAGES)]
        found[view] = rendered[size]
    return found


def _await_ready(
    health: Callable[[], HealthMessage], cameras: Iterable[MemorySource], thread: threading.Thread
) -> None:
    """Wait until triggers are taken and the broker is there, or the station ended."""
    end, pause = time.monotonic() + _START_S, threading.Event()
    while thread.is_alive() and time.monotonic() < end:
        if all(camera.reading.is_set() for camera in cameras) and health().broker_online:
            return
        pause.wait(0.02)
    if thread.is_alive():
        raise PublishError(f"the station does not reach its broker within {_START_S:.0f} s; check the broker")
    raise PublishError("the station ended before it was online; see its log")
