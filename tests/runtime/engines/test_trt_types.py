"""The sources type-check against stubs made from the bindings of every version, but for what is kept apart by version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trt_bindings as nvidia
import trt_surface as table

pytestmark = pytest.mark.timeout(290)
# Each behind a condition on the version, which a type checker does not know.
EXPECTED = {
    "8.6.1": {"progress_monitor", "STRONGLY_TYPED", "IProgressMonitor"},
    "10.3.0": set[str](),
    "10.13.3.9": set[str](),
    "11.4.0.106": {"FP16", "INT8", "EXPLICIT_BATCH"},
}


def test_the_sources_fit_the_types_of_the_version(trt_version: str, tmp_path: Path) -> None:
    cache, usual = tmp_path / "mypy", nvidia.REPOSITORY / ".mypy_cache"
    if usual.is_dir():  # with the same settings all but what has to do with TensorRT is known already
        shutil.copytree(usual, cache)
    names = [p.relative_to(nvidia.REPOSITORY).with_suffix("").as_posix().replace("/", ".") for p in table.sources()]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--no-color-output", "--cache-dir", str(cache)),
            *(part for name in names for part in ("-m", f"jetspect.{name}")),
        ],
        env={**os.environ, "MYPYPATH": str(nvidia.typed(trt_version))},
        cwd=nvidia.REPOSITORY,
        capture_output=True,
        text=True,
    )
    ours = [line for line in done.stdout.splitlines() if line.startswith("jetspect/") and ": error: " in line]
    wrong = [
        line
        for line in ours
        # What is written for versions with and without a name: one side of it is idle with each.
        if not line.endswith(("[unreachable]", "[unused-ignore]"))
        and not any(f'"{name}"' in line or f'trt.{name}"' in line for name in EXPECTED[trt_version])
    ]
    assert not wrong, "\n".join(wrong)
    assert re.search(r"checked \d+ source files?", done.stdout), done.stdout[-2000:] + done.stderr
    found = {name for name in EXPECTED[trt_version] if any(name in line for line in ours)}
    assert found == EXPECTED[trt_version]
