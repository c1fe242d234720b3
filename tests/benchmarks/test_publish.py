"""The measurement of the publishing counts every result, and the old form of the command stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jetspect", "bench", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=100)


def test_both_runs_are_measured_to_the_last_puback(tmp_path: Path) -> None:
    done = bench("publish", "--seconds", "1", "--rate", "100", "--lines", "3", "--folder", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    flat_out, paced = json.loads(done.stdout)["runs"]
    assert flat_out["results"] > 100
    assert 98 <= paced["results"] <= 103
    for run in (flat_out, paced):
        assert 0 < run["puback_p50_ms"] <= run["puback_p99_ms"] <= run["puback_max_ms"]
    assert list(tmp_path.iterdir()) == [], "nothing stays behind"


def test_a_bundle_is_still_the_first_argument(tmp_path: Path) -> None:
    done = bench(str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nowhere does not exist" in done.stderr
