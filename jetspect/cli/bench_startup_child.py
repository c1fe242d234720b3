"""Run a command in this process and note how long each phase takes until its first verdict.

``jetspect bench startup`` starts it, with the monotonic clock of that moment, the file for the times, and the command's words.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import jetspect.runtime.engines as engines
import jetspect.runtime.engines.options as options
from jetspect import cli
from jetspect.benchmarks.startup_watch import Watch
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.inspector import Inspector


def watched(command: str) -> Watch:
    """Put a watch over the phases of a command, which alone is imported: a start does not wait for other commands' modules."""
    own, (teller, tells) = _inspect() if command == "inspect" else _station()
    watch = Watch()
    for owner, name, phase in (
        *own,
        (engines, "check_golden", "golden"),
        (engines, "check_foreground", "golden"),
        (options, "check_golden", "golden"),
        (Inspector, "inspect", "frame"),
    ):
        setattr(owner, name, watch.over(phase, getattr(owner, name)))
    setattr(Bundle, "open", staticmethod(watch.over("bundle", Bundle.open)))  # noqa: B010
    setattr(teller, tells, watch.verdict(getattr(teller, tells)))
    return watch


def _inspect() -> tuple[list[tuple[Any, str, str]], tuple[Any, str]]:
    import jetspect.cli.engine as opening
    import jetspect.cli.inspect as command

    return [(opening, "open_engine", "engine"), (command, "read_image", "image")], (command, "_answer")


def _station() -> tuple[list[tuple[Any, str, str]], tuple[Any, str]]:
    import jetspect.cli.run as command
    import jetspect.runtime.judging as judging
    import jetspect.runtime.sources.files as files

    return [(judging, "open_engine", "engine"), (files, "read_image", "image")], (command, "_tell_json")


def main(began_ns: int) -> None:
    """Run ``sys.argv[3:]``. ``began_ns`` is when Python came to its first line."""
    spawned_ns, times, words = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    watch = watched(words[0])
    watch.ms["python"] = (began_ns - spawned_ns) / 1e6
    watch.ms["imports"] = (time.monotonic_ns() - began_ns) / 1e6
    sys.argv = ["jetspect", *words]
    try:
        cli.main()
    finally:
        if watch.verdict_ns:
            total = (watch.verdict_ns - spawned_ns) / 1e6
            watch.ms["rest"] = max(0.0, total - sum(watch.ms.values()))
            times.write_text(json.dumps({**watch.ms, "total": total}))
