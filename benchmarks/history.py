"""Results of measurements as JSON lines: what was measured, on which machine, with which versions, and the raw samples."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

import jetspect
from jetspect.benchmarks.stats import load_average
from jetspect.device.probe import probe
from jetspect.errors import InputError

PACKAGES = ("numpy", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "pycuda")
MOST_SAMPLES = 5000


class Model(BaseModel):
    """Base of what a line holds; unknown keys of a newer jetspect are left aside."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Series(Model):
    """Raw samples of one thing, in the order in which they were measured."""

    name: str
    unit: str
    better: Literal["lower", "higher"] = "lower"
    samples: tuple[float, ...]
    keys: tuple[str, ...] = Field((), description="What each sample was measured on; equal keys of two runs make pairs")

    @field_validator("samples")
    @classmethod
    def _numbers(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or not all(math.isfinite(sample) for sample in value):
            raise ValueError("samples are one or more finite numbers")
        return value


class Row(Model):
    """A line of README's table: what was measured, and the numbers in words."""

    what: str
    measured: str


class Record(Model):
    """One run of one measurement."""

    record: Literal[1] = 1
    bench: str = Field(description="Which measurement: tiles, latency, startup, graphs, publish")
    command: str
    when: datetime
    jetspect: str
    commit: str = Field("", description="Of git, with a + where files were changed; empty outside a repository")
    machine: dict[str, str | int]
    versions: dict[str, str]
    load_average: float = Field(
        description="Busy threads over the minute before the end, the measurement's own included"
    )
    series: tuple[Series, ...]
    rows: tuple[Row, ...] = ()
    result: dict[str, Any] = Field(default_factory=dict, description="All that the measurement says, as with --json")


def make_record(
    bench: str, series: Sequence[Series], *, rows: Sequence[Row] = (), result: dict[str, Any] | None = None
) -> Record:
    """Describe a run that ends now, by this process' command line."""
    return Record(
        bench=bench,
        command=" ".join(("jetspect", *sys.argv[1:])),
        when=datetime.now(timezone.utc).replace(microsecond=0),
        jetspect=jetspect.__version__,
        commit=commit(),
        machine=probe().as_dict(),
        versions=versions(),
        load_average=round(load_average(), 2),
        series=tuple(series),
        rows=tuple(rows),
        result=result or {},
    )


def thin(samples: Sequence[float], most: int = MOST_SAMPLES) -> tuple[float, ...]:
    """Return at most so many samples, evenly over the run, so that a line does not grow with the length of a run."""
    step = -(-len(samples) // most)
    return tuple(round(float(sample), 4) for sample in samples[:: max(1, step)])


def append(path: Path, record: Record) -> None:
    """Add one line to a file, in one write, so that two measurements that end together do not mix."""
    line = record.model_dump_json().encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            if end := file.seek(0, os.SEEK_END):
                file.seek(end - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line  # a line that was cut off spoils only itself
            file.write(line)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another --history") from error


def check_writable(path: Path | None) -> None:
    """Say before a long run that its result could not be kept."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder; --history is a file of JSON lines")
    there = path.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        if not there:
            path.unlink()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another --history") from error


def read_records(where: str) -> list[Record]:
    """Read the records of ``FILE``, or of ``FILE#N`` the N-th line alone (from 1; -1 is the last one).

    A file holds one record a line, or is one record.

    Raises
    ------
    InputError
        There is no such file or line, or it is no record.
    """
    name, _, number = where.rpartition("#") if "#" in where and not Path(where).exists() else (where, "", "")
    path = Path(name)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read: {reason}; name a file that --history wrote") from error
    whole = _parsed(text)
    lines = [line for line in text.splitlines() if line.strip()]
    records = [whole] if whole is not None else [_parse(line, f"{path} line {n}") for n, line in enumerate(lines, 1)]
    if not records:
        raise InputError(f"{path} holds no measurement; name a file that --history wrote")
    if not number:
        return records
    wanted = int(number) if number.lstrip("-").isdecimal() else 0
    if not wanted or abs(wanted) > len(records):
        raise InputError(f"{path} has the lines 1 to {len(records)} (or -1, the last one), not {number!r}")
    return [records[wanted - 1 if wanted > 0 else wanted]]


def _parsed(text: str) -> Record | None:
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        return None


def _parse(line: str, where: str) -> Record:
    try:
        return Record.model_validate_json(line)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, fault["loc"])) or "the line"
        raise InputError(
            f"{where} is no measurement: {key}: {fault['msg']}; name a file that --history wrote"
        ) from error


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide how fast something is, those that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """Return the commit of the code that runs; empty where it does not stand in a git repository."""
    root = Path(jetspect.__file__).resolve().parent.parent
    if not (root / ".git").exists():  # installed, and perhaps inside somebody else's repository
        return ""
    head, changed = (_git(root, *words) for words in (("rev-parse", "--short=12", "HEAD"), ("status", "-s", "-uno")))
    return head + ("+" if changed else "") if head else ""


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
