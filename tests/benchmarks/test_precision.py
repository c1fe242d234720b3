"""Comparing the graphs of a bundle: every one is timed on the same tile, in one run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from jetspect.benchmarks.precision import compare_precisions
from jetspect.errors import EngineError, InputError
from jetspect.runtime.bundle import Bundle

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "metal-demo"


def test_every_graph_is_timed_and_fp32_is_the_measure() -> None:
    rows = compare_precisions(Bundle.open(BUNDLE), tile_px=224, runs=3)
    assert [r.precision for r in rows] == ["fp32", "fp16"]
    assert rows[0].speedup == 1.0
    for row in rows:
        assert 0 < row.latency.low_ms <= row.latency.median_ms <= row.latency.high_ms
        assert row.speedup == pytest.approx(rows[0].latency.median_ms / row.latency.median_ms)


def test_what_is_not_there_or_does_not_fit_is_refused() -> None:
    bundle = Bundle.open(BUNDLE)
    with pytest.raises(EngineError, match="has no int8-cpu graph, it has fp32, fp16"):
        compare_precisions(bundle, ("int8-cpu",), tile_px=224)
    with pytest.raises(InputError, match="tiles of 100 px are no multiple of the model's stride of 16 px"):
        compare_precisions(bundle, tile_px=100)


def test_the_command_says_it_for_machines() -> None:
    command = [sys.executable, "-m", "jetspect", "bench", str(BUNDLE), "--tile", "224", "--runs", "5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0
    data = json.loads(done.stdout)
    assert data["tile_px"] == 224
    assert [g["precision"] for g in data["graphs"]] == ["fp32", "fp16"]
