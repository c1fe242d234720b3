"""Run the command line inside the test's process: importing torch anew for every command would take most of the tests' time."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from jetspect.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def jetspect(*words: object, cwd: Path | None = None) -> Done:
    """Run one command as ``jetspect WORDS`` would, in a folder (the repository's by default)."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd or REPOSITORY)
    try:
        with (
            mock.patch.object(sys, "argv", ["jetspect", *map(str, words)]),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        os.chdir(before)
    return Done(code, out.getvalue(), err.getvalue())
