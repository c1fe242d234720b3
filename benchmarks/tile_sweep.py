"""Measure points one after the other, each in a process of its own; what is measured already is not measured again."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from jetspect.benchmarks.process_memory import available_mb
from jetspect.benchmarks.tile_child import Failure, Footprint, Job, Labels
from jetspect.benchmarks.tile_points import Conditions, Measured, Point
from jetspect.errors import EngineError, InputError
from jetspect.runtime.manifest import Manifest
from jetspect.runtime.sources.synthetic import render_part
from jetspect.runtime.tiling import round_up

LINES = "points.jsonl"
_ON_PROCESSOR = ("onnxruntime", "openvino")  # one engine for every shape; a GPU's has one shape
_TRIAL_PX = 512
Answer = TypeVar("Answer", bound=BaseModel)
Told = Callable[[Point, "Measured | Failure"], None]


@dataclass(frozen=True)
class Sweep:
    """What was measured, and what could not be."""

    measured: list[Measured]
    failed: list[tuple[Point, str]]


def preflight(
    bundle: Path, manifest: Manifest, points: Sequence[Point], conditions: Conditions, *, limit_mb: float | None = None
) -> None:
    """Open every engine once, and estimate the memory of every point from what small tiles take.

    Parameters
    ----------
    limit_mb
        Memory that there is; None takes what is free now.

    Raises
    ------
    EngineError
        An engine is missing or cannot run the bundle; all that are wrong are named.
    InputError
        A point takes more memory than there is.
    """
    faults: dict[str, None] = {}
    needs_mb: dict[Point, float] = {}
    for point, group in _groups(points):
        found = run_child(Job(bundle=bundle, point=point, conditions=conditions, trial_px=_trial(manifest)), Footprint)
        if isinstance(found, Failure):
            faults[f"{point.engine} {point.precision}: {found.error}"] = None
        else:
            needs_mb |= {p: estimate_mb(found, p, manifest, conditions.size_wh) for p in group}
    if faults:
        raise EngineError("not every engine can be measured: " + "; ".join(faults))
    free_mb = available_mb() if limit_mb is None else limit_mb
    too_large = {p: need for p, need in needs_mb.items() if need > free_mb}
    if too_large:
        point, need = min(too_large.items(), key=lambda item: item[1])
        others = f"; so do {len(too_large) - 1} more points" if len(too_large) > 1 else ""
        raise InputError(
            f"{point} takes about {need:.0f} MB, and {free_mb:.0f} MB are there{others}: leave large tiles and batches out, "
            "or free memory"
        )


def estimate_mb(found: Footprint, point: Point, manifest: Manifest, size_wh: tuple[int, int]) -> float:
    """Return about how much memory a point takes: engine, tiles, and the frame with its score map.

    The engine's memory grows with the pixels of a batch; how much for each was measured between two small tiles.
    """
    pixels = size_wh[0] * size_wh[1]
    score_bytes = 1 if manifest.tiling.mode == "exact" else 5  # blending sums in float32 beside the map
    around = pixels * (manifest.input.channels + score_bytes * len(manifest.output.classes)) / 2**20
    if len(found.peaks_mb) < 2:
        return found.opened_mb + around
    (small, large), (low, high) = found.edges_px[:2], found.peaks_mb[:2]
    per_px = max(0.0, high - low) / (large**2 - small**2)
    edge = min(point.tile_px, round_up(max(size_wh), manifest.tiling.stride_px))
    return found.opened_mb + per_px * point.batch * edge**2 + around


def sweep(
    bundle: Path,
    points: Sequence[Point],
    conditions: Conditions,
    out: Path,
    *,
    labels: Labels | None = None,
    again: bool = False,
    told: Told = lambda *_: None,
) -> Sweep:
    """Measure points and write each to a line of ``out`` as soon as it is there."""
    lines = out / LINES
    with _held(lines):
        known = {} if again else {m.point: m for m in read_points(lines) if m.conditions == conditions}
        frame = out / "frame.npy"
        done, failed = [], []
        try:
            if any(point not in known for point in points):
                np.save(frame, render_part(1, conditions.size_wh).image)
            for point in points:
                found: Measured | Failure | None = known.get(point)
                if found is None:
                    job = Job(bundle=bundle, point=point, conditions=conditions, frame=frame, labels=labels)
                    found = run_child(job, Measured)
                    if isinstance(found, Measured):
                        _append(lines, found)
                if isinstance(found, Failure):
                    failed.append((point, found.error))
                else:
                    done.append(found)
                told(point, found)
        finally:
            frame.unlink(missing_ok=True)
    return Sweep(done, failed)


def unmeasured(points: Sequence[Point], conditions: Conditions, out: Path) -> list[Point]:
    """Return the points that a folder does not hold yet, measured under the same conditions."""
    known = {m.point for m in read_points(out / LINES) if m.conditions == conditions}
    return [point for point in points if point not in known]


def read_points(path: Path) -> list[Measured]:
    """Read what was measured before; a line that was cut off, or of another form, does not count."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; choose another --out") from error
    found = []
    for line in lines:
        try:
            found.append(Measured.model_validate_json(line))
        except ValidationError:
            continue
    return found


def run_child(job: Job, answer: type[Answer]) -> Answer | Failure:
    """Do one job in a process of its own; whatever ends that process becomes a failure."""
    command = [sys.executable, "-m", "jetspect.benchmarks.tile_child"]
    done = subprocess.run(command, input=job.model_dump_json(), check=False, capture_output=True, text=True)
    last = (done.stdout.splitlines() or [""])[-1]  # a library may have printed before it
    for model in (answer, Failure):
        try:
            return model.model_validate_json(last)
        except ValidationError:
            continue
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return Failure(error=f"its process was ended by {name}" + (": out of memory?" if name == "SIGKILL" else ""))
    said = done.stderr.strip().splitlines()
    return Failure(error=(said[-1] if said else f"exit code {done.returncode} and no reason")[:300])


def _groups(points: Sequence[Point]) -> Iterator[tuple[Point, list[Point]]]:
    """Yield what has to be opened once, and the points that it stands for."""
    groups: dict[object, list[Point]] = {}
    for point in points:
        alone = point.engine not in _ON_PROCESSOR
        groups.setdefault(point if alone else (point.engine, point.precision), []).append(point)
    for group in groups.values():
        yield group[0], group


def _trial(manifest: Manifest) -> tuple[int, int]:
    rules = manifest.tiling
    edge = round_up(max(_TRIAL_PX, 2 * rules.halo_px + rules.stride_px), rules.stride_px)
    return edge, 2 * edge


def _append(path: Path, found: Measured) -> None:
    with path.open("rb+") as file:
        # A line that was cut off must not spoil this one.
        end = file.seek(0, 2)
        file.seek(max(0, end - 1))
        whole = end == 0 or file.read(1) == b"\n"
        file.seek(0, 2)
        file.write((b"" if whole else b"\n") + found.model_dump_json().encode() + b"\n")


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Two runs into one folder would measure each other."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(f"another run writes {path.parent}; wait for it, or choose another --out") from error
            yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another --out") from error
