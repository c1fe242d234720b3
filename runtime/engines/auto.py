"""The fastest engine of this machine for one graph, found by a short trial and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jetspect.device.probe import probe
from jetspect.errors import EngineError, JetspectError, MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import U8, Engine
from jetspect.runtime.engines.cache import built_for
from jetspect.runtime.golden import GoldenReport
from jetspect.runtime.manifest import Precision
from jetspect.runtime.private import private_folder, read_private, write_private

log = logging.getLogger(__name__)
Open = Callable[[str], tuple[Engine, GoldenReport]]

_TRIAL_S = 1.0  # for each engine
_MOST_RUNS = 50
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "pycuda")


class Trial(BaseModel):
    """What one engine did. ``median_ms`` is None where it cannot be used; ``reason`` then says why."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
    engine: str = ""
    median_ms: float | None = Field(None, description="One run of one batch")
    runs: int = 0
    reason: str = ""
    installed: bool = True


class Choice(BaseModel):
    """The engine that was chosen, for exactly one graph, shape and machine."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
    made_for: dict[str, str]
    trials: tuple[Trial, ...]

    def __str__(self) -> str:
        times = [f"{t.kind} {t.median_ms:.1f} ms" for t in self.trials if t.median_ms is not None]
        refused = [f"{t.kind}: {t.reason}" for t in self.trials if t.median_ms is None and t.installed]
        absent = [t.kind for t in self.trials if not t.installed]
        also = f"; not usable: {'; '.join(refused)}" if refused else ""
        also += f"; not installed: {', '.join(absent)}" if absent else ""
        return f"engine {self.kind} chosen for {self.made_for['shape']} {self.made_for['precision']}: {', '.join(times)}{also}"


def open_fastest(
    bundle: Bundle,
    kinds: Sequence[str],
    opened_by: Open,
    *,
    precision: Precision,
    tile_px: int | None,
    batch: int,
    threads: int,
    engines: Path,
    again: bool = False,
) -> tuple[Engine, GoldenReport, Choice]:
    """Open the engine that was fastest here, after a trial where there was none yet for this graph, shape and machine.

    Every engine must reproduce the golden tiles before its time counts. Delete ``choices`` in jetspect's cache folder to
    forget, or name an engine to overrule.

    Parameters
    ----------
    opened_by
        Opens and proves an engine by its kind.
    engines
        Folder of what was built; a new engine of this graph there calls for a new trial.
    again
        Do not look at what is remembered.

    Raises
    ------
    EngineError
        No engine can run the graph; says why of each.
    """
    made_for = _key(bundle, precision, tile_px, batch, threads)
    made_for["built"] = built_for(engines, bundle.manifest.graphs[precision].sha256)
    path = _path(made_for)
    known = None if again else _remembered(path, made_for)
    if known is not None and known.kind in kinds:
        try:
            engine, golden = opened_by(known.kind)
        except JetspectError as error:
            log.warning(
                "%s was the fastest engine and cannot be used now (%s); trying them all again", known.kind, error
            )
        else:
            log.info("%s, as found before", known)
            return engine, golden, known
    tile = _tile(bundle, precision, tile_px, batch)
    with ExitStack() as stack:
        usable: dict[str, tuple[Engine, GoldenReport]] = {}
        refused: list[Trial] = []
        for kind in kinds:
            try:
                usable[kind] = opened_by(kind)
                stack.push(usable[kind][0])
                usable[kind][0].run(tile)  # the first run makes its buffers
            except JetspectError as error:
                usable.pop(kind, None)
                absent = isinstance(error, MissingDependencyError)
                refused.append(Trial(kind=kind, reason=str(error), installed=not absent))
        if not usable:
            raise EngineError(
                f"no engine runs {bundle.manifest.name} {precision} here: "
                + "; ".join(f"{t.kind}: {t.reason}" for t in refused)
            )
        times = _time({kind: engine for kind, (engine, _) in usable.items()}, tile)
        tried = tuple(
            Trial(kind=k, engine=str(usable[k][0].info), median_ms=1e3 * statistics.median(t), runs=len(t))
            for k, t in times.items()
        )
        best = min(times, key=lambda kind: statistics.median(times[kind]))
        choice = Choice(kind=best, made_for=made_for, trials=(*tried, *refused))
        for kind, (engine, _) in usable.items():
            if kind != best:
                engine.close()
        stack.pop_all()
    log.info("%s", choice)
    if path is not None:
        with suppress(EngineError):  # without it the next start tries them again
            write_private(path, choice.model_dump_json(indent=2).encode() + b"\n")
    return *usable[best], choice


def _time(engines: dict[str, Engine], tile: U8) -> dict[str, list[float]]:
    """Run the engines in turn, so that whatever else the machine does meets all of them alike."""
    times: dict[str, list[float]] = {kind: [] for kind in engines}
    end = time.perf_counter() + _TRIAL_S * len(engines)
    while time.perf_counter() < end or min(map(len, times.values())) < 3:
        for kind, engine in engines.items():
            began = time.perf_counter()
            engine.run(tile)
            times[kind].append(time.perf_counter() - began)
        if min(map(len, times.values())) >= _MOST_RUNS:
            break
    return times


def _tile(bundle: Bundle, precision: Precision, tile_px: int | None, batch: int) -> U8:
    """Return a batch of tiles as the station will have them, filled with a golden one."""
    golden = bundle.golden(precision).tiles[0]
    if bundle.manifest.tiling.mode == "whole":
        return np.ascontiguousarray(golden[None])
    edge = tile_px or bundle.manifest.tiling.tile_px
    repeats = -(-edge // golden.shape[0]), -(-edge // golden.shape[1]), 1
    one = np.tile(golden, repeats)[:edge, :edge]
    return np.ascontiguousarray(np.repeat(one[None], batch, axis=0))


def _key(bundle: Bundle, precision: Precision, tile_px: int | None, batch: int, threads: int) -> dict[str, str]:
    """Return everything that a choice depends on."""
    machine = probe()
    edge = tile_px or bundle.manifest.tiling.tile_px
    driver = ""
    with suppress(OSError):
        driver = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    return {
        "graph_sha256": hashlib.sha256(bundle.graph(precision)).hexdigest(),
        "precision": precision,
        "shape": f"{batch} x {edge} px",
        "threads": str(threads or len(os.sched_getaffinity(0))),
        "machine": f"{machine.model}, {machine.architecture}, {machine.cores} cores",
        "gpu_driver": driver,
        "packages": ", ".join(f"{name} {version}" for name in _PACKAGES if (version := _version(name))),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _path(made_for: dict[str, str]) -> Path | None:
    """Return the file of a choice; None where nothing can be remembered."""
    name = hashlib.sha256(json.dumps(made_for, sort_keys=True).encode()).hexdigest()[:16]
    try:
        return private_folder("choices") / f"{name}.json"
    except EngineError as error:
        log.warning("the choice of an engine cannot be remembered: %s", error)
        return None


def _remembered(path: Path | None, made_for: dict[str, str]) -> Choice | None:
    if path is None:
        return None
    try:
        data = read_private(path)
        choice = None if data is None else Choice.model_validate_json(data)
    except (EngineError, ValidationError) as error:
        log.warning("%s is not used: %s", path, str(error).splitlines()[0])
        return None
    return choice if choice is not None and choice.made_for == made_for else None
