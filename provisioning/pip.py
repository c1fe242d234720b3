"""The pip beside this Python; its last words where it fails."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping

from jetspect.errors import MissingDependencyError, ProvisionError

_LIMIT_S = 1800.0
_LINES = 3
_CONFLICT = "The conflict is caused by:"


def run_pip(*words: object, environment: Mapping[str, str] | None = None) -> None:
    """Run pip to its end.

    Raises
    ------
    ProvisionError
        It failed; the message has its last lines.
    MissingDependencyError
        This Python has no pip.
    """
    if importlib.util.find_spec("pip") is None:
        raise MissingDependencyError("pip", "collecting wheels", "python3 -m ensurepip")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *map(str, words)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProvisionError(f"pip {words[0]} gave no answer in {_LIMIT_S:.0f} s; check the network") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = _conflict(done.stdout) or " ".join(said[-_LINES:]) or f"exit code {done.returncode}"
        raise ProvisionError(f"pip {words[0]} failed: {why}")


def _conflict(said: str) -> str:
    """Return which requirements exclude each other: that stands on stdout, in the middle."""
    _, found, after = said.partition(_CONFLICT)
    lines = [line.strip() for line in after.partition("\n\n")[0].splitlines() if line.strip()]
    return "these exclude each other: " + "; ".join(lines) if found else ""
