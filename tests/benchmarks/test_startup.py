"""Starts are measured in fresh processes, and their phases add up."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from jetspect.benchmarks.startup import Startup, Subject, first, measure, medians
from jetspect.benchmarks.startup_watch import PHASES, Watch
from jetspect.errors import EngineError
from jetspect.runtime.config import BundleSettings, EngineSettings
from jetspect.runtime.region import TilingSettings
from tests.helpers.commands import REPOSITORY, jetspect

BUNDLE = REPOSITORY / "bundles" / "metal-demo"
SUBJECT = Subject(BundleSettings(path=BUNDLE, precision="fp32"), EngineSettings(), TilingSettings(), (208, 208))


def test_phases_of_both_kinds_add_up_to_the_first_verdict(tmp_path: Path) -> None:
    words = ("bench", "startup", BUNDLE, "--runs", 1, "--size", "208x208", "--tile", 208, "--threads", 1)
    done = jetspect(*words, "--out", tmp_path / "out", "--history", tmp_path / "h", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    for ms in record["result"]["median_ms"].values():
        assert sum(ms[phase] for phase in PHASES) == pytest.approx(ms["total"], abs=1e-6)
        assert all(ms[phase] > 0 for phase in PHASES), ms
    assert record["series"][0]["name"] == "metal-demo 1.0.0, onnxruntime, inspect, total" and len(
        record["series"]
    ) == 2 * (1 + len(PHASES))
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
    assert len((tmp_path / "h").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((BUNDLE, "--precision", "int8"), "no int8 graph"),
        ((BUNDLE, "--engine", "abacus"), "'abacus' is not known"),
        ((BUNDLE, "--tile", 250), "multiples of the model's stride"),
        ((BUNDLE, "--size", "big"), "like 5472x3648"),
        ((BUNDLE / "nowhere",), "does not exist"),
    ],
)
def test_what_cannot_start_is_refused_at_once(words: tuple[object, ...], said: str) -> None:
    done = jetspect("bench", "startup", *words)
    assert done.returncode == 2 and said in done.stderr


def _program(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_start_without_a_verdict_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "executable", _program(tmp_path, """echo '{"error": {"message": "no such GPU"}}'; exit 2""")
    )
    with pytest.raises(EngineError, match="jetspect inspect gave no verdict: no such GPU"):
        measure(SUBJECT, 1)
    monkeypatch.setattr(sys, "executable", _program(tmp_path, "echo first >&2; echo 'Killed' >&2; exit 137"))
    with pytest.raises(EngineError, match="gave no verdict: Killed"):
        measure(SUBJECT, 1)


def test_the_first_start_stands_apart_unless_it_is_the_only_one() -> None:
    starts = [Startup("inspect", dict.fromkeys(PHASES, float(n)), 8.0 * n) for n in (100, 1, 2, 3)]
    assert first(starts, "inspect")["total"] == 800
    assert medians(starts, "inspect")["total"] == 16
    assert medians(starts[:1], "inspect")["total"] == 800


def test_a_phase_inside_another_is_not_counted_twice_and_none_after_the_verdict() -> None:
    watch = Watch()

    def wait() -> None:
        threading.Event().wait(0.02)

    inner = watch.over("golden", wait)
    began = time.monotonic_ns()
    watch.over("engine", lambda: (wait(), inner()))()
    spent_ms = (time.monotonic_ns() - began) / 1e6
    assert watch.ms["golden"] >= 20 and watch.ms["engine"] >= 20
    assert watch.ms["golden"] + watch.ms["engine"] <= spent_ms
    watch.verdict(lambda: None)()
    before = dict(watch.ms)
    inner()
    assert watch.ms == before
