"""Run a ``jetspect`` command in this process and note how long each phase takes until its first verdict.

    python -m jetspect.benchmarks.startup_child SPAWNED_NS TIMES.json inspect BUNDLE IMAGE

``SPAWNED_NS`` is the monotonic clock when the process was started. Nothing heavy may be imported above the first line of
:func:`main`: importing is one of the phases.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PHASES = ("python", "imports", "bundle", "engine", "golden", "image", "frame", "rest")


class Watch:
    """Adds up the time of calls by phase; a phase inside another one does not count as part of it."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.verdict_ns = 0
        self._inside = threading.local()

    def over(self, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call, timed until there is a verdict."""

        def timed(*arguments: Any, **options: Any) -> Any:
            around: list[str] = getattr(self._inside, "phases", [])
            self._inside.phases = [*around, phase]
            began = time.monotonic_ns()
            try:
                return call(*arguments, **options)
            finally:
                self._inside.phases = around
                spent = (time.monotonic_ns() - began) / 1e6
                if not self.verdict_ns:
                    self.ms[phase] += spent
                    for outer in around[-1:]:
                        self.ms[outer] -= spent

        return timed

    def verdict(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return what tells a verdict; its first end is what startup leads to."""

        def told(*arguments: Any) -> Any:
            try:
                return call(*arguments)
            finally:
                self.verdict_ns = self.verdict_ns or time.monotonic_ns()

        return told


def watched() -> tuple[Watch, Callable[[], None]]:
    """Import the command and put a watch over its phases."""
    import jetspect.cli.engine
    import jetspect.cli.inspect as inspect_command
    import jetspect.cli.run as run_command
    import jetspect.runtime.assembly as assembly
    import jetspect.runtime.engines
    import jetspect.runtime.engines.options
    import jetspect.runtime.sources.files as files
    from jetspect.cli import main
    from jetspect.runtime.bundle import Bundle
    from jetspect.runtime.inspector import Inspector

    watch = Watch()
    engines, options, cli_engine = jetspect.runtime.engines, jetspect.runtime.engines.options, jetspect.cli.engine
    for owner, name, phase in (
        (cli_engine, "open_engine", "engine"),
        (assembly, "open_engine", "engine"),
        (engines, "check_golden", "golden"),
        (engines, "check_foreground", "golden"),
        (options, "check_golden", "golden"),
        (inspect_command, "read_image", "image"),
        (files, "read_image", "image"),
        (Inspector, "inspect", "frame"),
    ):
        setattr(owner, name, watch.over(phase, getattr(owner, name)))
    setattr(Bundle, "open", staticmethod(watch.over("bundle", Bundle.open)))  # noqa: B010
    for owner, name in ((inspect_command, "_answer"), (run_command, "_tell_json")):
        setattr(owner, name, watch.verdict(getattr(owner, name)))
    return watch, main


def main() -> None:
    began = time.monotonic_ns()
    spawned, times, words = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    watch, command = watched()
    watch.ms["python"] = (began - spawned) / 1e6
    watch.ms["imports"] = (time.monotonic_ns() - began) / 1e6
    sys.argv = ["jetspect", *words]
    try:
        command()
    finally:
        if watch.verdict_ns:
            total = (watch.verdict_ns - spawned) / 1e6
            watch.ms["rest"] = max(0.0, total - sum(watch.ms.values()))
            times.write_text(json.dumps({**watch.ms, "total": total}))


if __name__ == "__main__":
    main()
