"""The kernels under the compiler's sanitizers: no byte outside a buffer, no race between threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import host_cuda
import pytest

PROGRAM = Path(__file__).with_name("sanitized.py")


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_kernels_are_clean(sanitizer: str) -> None:
    library = f"lib{sanitizer[0]}san.so"
    found = subprocess.run(["g++", f"-print-file-name={library}"], capture_output=True, text=True, check=True)
    runtime = Path(found.stdout.strip()).resolve()
    assert runtime.exists(), f"g++ comes without {library}; install build-essential"
    environment = {
        **os.environ,
        "LD_PRELOAD": str(runtime),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter keeps memory on purpose
        "UBSAN_OPTIONS": "halt_on_error=1",
        "TSAN_OPTIONS": "halt_on_error=1",
        "PYTHONPATH": os.pathsep.join([str(Path(host_cuda.__file__).parents[1]), *sys.path]),
    }
    command = [sys.executable, str(PROGRAM), f"-fsanitize={sanitizer}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[:4000]
    assert done.stdout.strip() == f"-fsanitize={sanitizer} done"
