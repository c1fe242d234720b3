"""How long it takes from starting the program to the first verdict: ``jetspect inspect`` and a station, by phase."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2

from jetspect.benchmarks.history import Record, Row, Series, make_record
from jetspect.benchmarks.page import Page, Table
from jetspect.benchmarks.startup_watch import PHASES
from jetspect.errors import EngineError, InputError
from jetspect.runtime.config import BundleSettings, EngineSettings
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.sources.synthetic import render_part

Kind = Literal["inspect", "station"]
KINDS: tuple[Kind, ...] = ("inspect", "station")
# The command as python -m jetspect runs it, with the clock read before anything is imported.
_PROGRAM = "import time; began = time.monotonic_ns(); from jetspect.cli.bench_startup_child import main; main(began)"
TEXTS = {
    "python": "Python itself",
    "imports": "imports of the command",
    "bundle": "opening and verifying the bundle",
    "engine": "loading the engine",
    "golden": "golden tiles",
    "image": "reading the image",
    "frame": "the first frame",
    "rest": "everything else",
}


@dataclass(frozen=True)
class Startup:
    """One start. ``phases_ms`` add up to ``total_ms``, from the start of the process to its first verdict."""

    kind: Kind
    phases_ms: dict[str, float]
    total_ms: float


@dataclass(frozen=True)
class Subject:
    """What is started."""

    bundle: BundleSettings
    engine: EngineSettings
    tiling: TilingSettings
    size_wh: tuple[int, int]


def measure(subject: Subject, runs: int, told: Callable[[], None] = lambda: None) -> list[Startup]:
    """Start both, in turn, in fresh processes; the first start of each reads files that the later ones find in memory.

    Raises
    ------
    EngineError
        A start ends without a verdict; says why.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="jetspect-startup-") as name:
        folder = Path(name)
        (folder / "images").mkdir()
        image = folder / "images" / "part.png"
        # Fast to read, as a camera's frames are fast to come.
        cv2.imwrite(str(image), render_part(1, subject.size_wh).image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
        for _ in range(runs):
            for kind, words in (("inspect", _inspect(subject, image)), ("station", _station(subject, folder))):
                found.append(_start(kind, words, folder / "times.json"))  # type: ignore[arg-type]
                told()
    return found


def medians(starts: Sequence[Startup], kind: Kind) -> dict[str, float]:
    """Return the median of every phase and of the total, without the first start where there are more."""
    same = [s for s in starts if s.kind == kind]
    warm = same[1:] or same
    found = {phase: statistics.median(s.phases_ms[phase] for s in warm) for phase in PHASES}
    return {**found, "total": statistics.median(s.total_ms for s in warm)}


def first(starts: Sequence[Startup], kind: Kind) -> dict[str, float]:
    """Return the phases of the first start."""
    start = next(s for s in starts if s.kind == kind)
    return {**start.phases_ms, "total": start.total_ms}


def as_record(starts: Sequence[Startup], name: str, subject: Subject) -> Record:
    """Return the line of history; samples are without the first start."""
    series = [
        Series(name=f"{name}, {subject.engine.kind}, {kind}, {phase}", unit="ms", samples=samples)
        for kind in KINDS
        for phase in ("total", *PHASES)
        if (samples := tuple(_samples(starts, kind, phase)))
    ]
    words = [f"{kind} {medians(starts, kind)['total'] / 1e3:.2f} s" for kind in KINDS]
    width, height = subject.size_wh
    what = f"{name}, cold start to the first verdict, {width} x {height} frame"
    result: dict[str, Any] = {
        "bundle": name,
        "size_wh": subject.size_wh,
        "runs": len(starts) // len(KINDS),
        "median_ms": {kind: medians(starts, kind) for kind in KINDS},
        "first_ms": {kind: first(starts, kind) for kind in KINDS},
    }
    return make_record("startup", series, rows=[Row(what=what, measured=", ".join(words))], result=result)


def rows(starts: Sequence[Startup]) -> list[list[str]]:
    """Return phase by phase: what, and for each kind the median and the first start in ms."""
    columns = [values for kind in KINDS for values in (medians(starts, kind), first(starts, kind))]
    texts = {**TEXTS, "total": "to the first verdict"}
    return [[texts[phase], *(f"{c[phase]:.0f}" for c in columns)] for phase in (*PHASES, "total")]


def make_page(starts: Sequence[Startup], name: str, subject: Subject) -> Page:
    from jetspect.benchmarks.startup_plot import draw

    width, height = subject.size_wh
    totals = {kind: medians(starts, kind)["total"] for kind in KINDS}
    return Page(
        title=f"Startup of {name}",
        lead=f"From the start of a process to its first verdict, {len(starts) // len(KINDS)} starts of each in turn; "
        f"a frame of {width} x {height} px.",
        numbers=[(f"{total / 1e3:.2f} s", f"{kind} (median)") for kind, total in totals.items()],
        tables=[
            Table("Phases, ms", ("phase", "inspect", "its first start", "station", "its first start"), rows(starts))
        ],
        plots=[draw(starts)],
        notes=["The first start may have read files from disk that later ones found in memory."],
    )


def _samples(starts: Sequence[Startup], kind: Kind, phase: str) -> Iterator[float]:
    same = [s for s in starts if s.kind == kind]
    for start in same[1:] or same:
        yield round(start.total_ms if phase == "total" else start.phases_ms[phase], 3)


def _start(kind: Kind, words: list[str], times: Path) -> Startup:
    times.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(time.monotonic_ns()), str(times), *words],
        check=False,
        capture_output=True,
        text=True,
    )
    # Whether the part is OK says nothing here: exit code 1 is an answer too.
    if done.returncode not in (0, 1) or not times.exists():
        raise EngineError(f"jetspect {words[0]} gave no verdict: {_why(done)}")
    ms: dict[str, float] = json.loads(times.read_text())
    return Startup(kind, {phase: ms[phase] for phase in PHASES}, ms["total"])


def _why(done: subprocess.CompletedProcess[str]) -> str:
    try:
        return str(json.loads(done.stdout)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"exit code {done.returncode}"


def _inspect(subject: Subject, image: Path) -> list[str]:
    words = ["inspect", str(subject.bundle.path), str(image), "--json", "--engine", subject.engine.kind]
    words += ["--precision", subject.bundle.precision, "--threads", str(subject.engine.threads)]
    words += ["--batch", str(subject.tiling.batch)]
    return words + (["--tile", str(subject.tiling.tile_px)] if subject.tiling.tile_px is not None else [])


def _station(subject: Subject, folder: Path) -> list[str]:
    def line(key: str, value: object) -> str:
        return "" if value is None else f"{key} = {json.dumps(value)}\n"

    engine, tiling, bundle = subject.engine, subject.tiling, subject.bundle
    if bundle.path is None:
        raise InputError("a start is measured with one bundle: give bundle.path, not bundle.slots")
    file = folder / "station.toml"
    file.write_text(
        '[station]\nsite = "bench"\narea = "bench"\nline = "bench"\nunit = "bench"\n[bundle]\n'
        + line("path", str(bundle.path.resolve()))
        + line("precision", bundle.precision)
        + "[engine]\n"
        + line("kind", engine.kind)
        + line("threads", engine.threads)
        + "[tiling]\n"
        + line("tile_px", tiling.tile_px)
        + line("batch", tiling.batch)
        + '[source]\nkind = "folder"\n'
        + line("path", str(folder / "images"))
    )
    return ["run", str(file), "--json"]
