from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import jetspect

from jetspect.benchmarks.process_memory import open_files, peak_mb, resident_mb, restart_peak

BUNDLE = Path(__file__).parents[2] / "bundles" / "metal-demo"


def test_frames_of_a_small_size_are_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    words = [str(BUNDLE), "--frames", "16", "--size", "448x384", "--tile", "384", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "jetspect", "bench", "memory", *words, "--history", "h.jsonl", "--json"],
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    record = json.loads(done.stdout)
    assert json.loads((tmp_path / "h.jsonl").read_text()) == record
    result = record["result"]
    assert (done.returncode == 0) is result["flat"]
    assert result["frame_mb"] == pytest.approx(448 * 384 * 3 / 2**20)
    assert result["score_map_mb"] == pytest.approx(448 * 384 * 3 / 2**20), "metal-demo has three classes"
    assert 1 < result["engine_mb"] < 500
    assert result["engine_mb"] < result["peak_mb"] < 1000
    assert result["factor"] == pytest.approx(
        result["peak_mb"] / (result["frame_mb"] + result["score_map_mb"] + result["engine_mb"])
    )
    assert len(record["series"][0]["samples"]) == 16
    assert result["open_files"]["last_quarter"] >= 3


def test_the_peak_counts_from_where_it_is_asked_to() -> None:
    big = bytearray(64 << 20)
    big[::4096] = b"x" * len(big[::4096])
    assert peak_mb() >= resident_mb() >= 64
    before = peak_mb()
    del big
    restart_peak()
    assert peak_mb() < before - 32
    assert open_files() >= 3


@pytest.mark.parametrize(
    ("words", "say"), [(["--frames", "7"], "8"), (["--tile", "100"], "16"), (["--size", "20"], "5472x3648")]
)
def test_what_cannot_be_measured_is_refused_first(words: list[str], say: str) -> None:
    done = jetspect("bench", "memory", str(BUNDLE), *words)
    assert done.returncode == 2
    assert say in done.stderr
