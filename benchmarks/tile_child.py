"""One process that measures one point of ``jetspect bench tiles``, so that its peak of memory is that point's alone.

It reads a :class:`Job` as JSON from stdin and answers on stdout with a :class:`Measured` or a :class:`Footprint`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from jetspect.benchmarks.energy import open_meter
from jetspect.benchmarks.process_memory import peak_mb
from jetspect.benchmarks.stats import load_average
from jetspect.benchmarks.tile_points import Accuracy, Conditions, Measured, Point, grid_of, stages_of
from jetspect.errors import JetspectError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.engines.base import DeviceEngine, Engine
from jetspect.runtime.engines.options import DeviceOptions
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.publishing.describing import timings_ms
from jetspect.runtime.region import TilingSettings

if TYPE_CHECKING:  # kept out of a process whose memory is measured
    from jetspect.evaluation.datasets.base import DataSet, Sample

U8 = npt.NDArray[np.uint8]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Labels(_Model):
    """Labelled images, and how many of them are looked at."""

    dataset: str
    path: Path | None
    split: str
    most: int


class Job(_Model):
    """What to do. Without ``frame`` only the engine is opened and tried on ``trial_px``, to see what memory it takes."""

    bundle: Path
    point: Point
    conditions: Conditions
    frame: Path | None = None
    labels: Labels | None = None
    trial_px: tuple[int, ...] = ()


class Footprint(_Model):
    """Peak memory with nothing but the engine, and after tiles of each size."""

    edges_px: tuple[int, ...]
    peaks_mb: tuple[float, ...]
    opened_mb: float


class Failure(_Model):
    """Why a point cannot be measured."""

    error: str


def work(job: Job) -> Measured | Footprint:
    """Do one job. Errors as those of the bundle, the engine and the inspection."""
    if job.frame is None:
        return _try_sizes(job)
    image: U8 = np.load(job.frame)
    before = peak_mb()
    began = perf_counter()
    bundle, engine = _open(job)
    build_ms = 1e3 * (perf_counter() - began)
    tiling = TilingSettings(tile_px=job.point.tile_px, batch=job.point.batch)
    with engine, Inspector(bundle, engine, InspectorSettings(tiling=tiling)) as inspector:
        began = perf_counter()
        first = inspector.inspect(Frame(image, "first"))
        first_ms = 1e3 * (perf_counter() - began)
        timings, joules = _measure(inspector, image, job.conditions.frames)
        peak, device = peak_mb(), _device_mb(engine)
        accuracy = None if job.labels is None else _judge(inspector, bundle, job.labels)
    return Measured(
        point=job.point,
        conditions=job.conditions,
        engine=str(engine.info),
        tiles=first.tiles,
        pixel_factor=grid_of(bundle.manifest, job.conditions.size_wh, job.point.tile_px).pixel_factor,
        stages_ms=stages_of(timings),
        build_ms=build_ms,
        first_frame_ms=first_ms,
        host_peak_mb=peak,
        host_before_mb=before,
        device_mb=device,
        joules=joules,
        load_average=load_average(),
        accuracy=accuracy,
    )


def _measure(inspector: Inspector, image: U8, frames: int) -> tuple[list[dict[str, float]], float | None]:
    """Return the times of each frame and the joules of all."""
    with ExitStack() as opened:
        meter = open_meter()
        if meter is not None:
            opened.enter_context(meter)
        timings, spent = [], 0.0
        for number in range(frames):
            timings.append(timings_ms(inspector.inspect(Frame(image, f"frame-{number}"))))
            spent = meter.joules() if meter is not None else 0.0
        return timings, None if meter is None else spent


def _device_mb(engine: Engine) -> float | None:
    """Return GPU memory in use, by whomever; None on a processor, and where the GPU shares the processor's memory."""
    inner = engine.defects if isinstance(engine, StagedEngine) else engine
    if not isinstance(inner, DeviceEngine) or inner.cuda.info.integrated:
        return None
    return (inner.cuda.info.memory_bytes - inner.cuda.free_bytes()) / 2**20


def _open(job: Job) -> tuple[Bundle, Engine]:
    bundle, point = Bundle.open(job.bundle), job.point
    options = DeviceOptions(tile_px=point.tile_px, batch=point.batch)
    engine, _ = open_engine(
        bundle, kind=point.engine, precision=point.precision, threads=job.conditions.threads, device=options
    )
    return bundle, engine


def _try_sizes(job: Job) -> Footprint:
    bundle, engine = _open(job)
    opened = peak_mb()
    peaks = []
    with engine:
        for edge in job.trial_px if engine.dynamic else ():
            engine.run(np.zeros((1, edge, edge, bundle.manifest.input.channels), np.uint8))
            peaks.append(peak_mb())
    return Footprint(edges_px=job.trial_px[: len(peaks)], peaks_mb=tuple(peaks), opened_mb=opened)


def _judge(inspector: Inspector, bundle: Bundle, labels: Labels) -> Accuracy:
    from jetspect.evaluation.datasets import open_dataset
    from jetspect.evaluation.evaluate import evaluate

    data = _Some(open_dataset(labels.dataset, labels.path, labels.split, protocol="evaluate"), labels.most)
    output = bundle.manifest.output
    threshold = None if output.decision is None else output.decision.threshold
    found = evaluate(data, inspector.predict, inspector.classes, decision_threshold=threshold).as_dict()
    return Accuracy(images=int(found["n"] or 0), iou=found["iou"], object_recall=found["object_recall"])


class _Some:
    """At most so many images of a data set, evenly over it."""

    def __init__(self, data: DataSet, most: int) -> None:
        self._data = data
        self._chosen = [n * len(data) // min(most, len(data)) for n in range(min(most, len(data)))]
        self.name, self.classes = data.name, data.classes

    @property
    def ids(self) -> Sequence[str]:
        return [self._data.ids[n] for n in self._chosen]

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        return self._data[self._chosen[index]]


def answer(job: Job) -> Measured | Footprint | Failure:
    """Do one job, or say why not."""
    try:
        return work(job)
    except (JetspectError, MemoryError) as error:
        return Failure(error=" ".join((str(error) or "out of memory").split()))


def main() -> None:
    # Whatever a library prints must not end in the answer.
    stdout, sys.stdout = sys.stdout, sys.stderr
    stdout.write(answer(Job.model_validate_json(sys.stdin.read())).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
