"""Run a command in this process and note how long each phase takes until its first verdict.

``jetspect bench startup`` starts it, with the monotonic clock of that moment, the file for the times, and the command's words.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import jetspect.cli.engine as cli_engine
import jetspect.cli.inspect as inspect_command
import jetspect.cli.run as run_command
import jetspect.runtime.engines as engines
import jetspect.runtime.engines.options as options
import jetspect.runtime.judging as judging
import jetspect.runtime.sources.files as files
from jetspect import cli
from jetspect.benchmarks.startup_watch import Watch
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.inspector import Inspector


def watched() -> Watch:
    """Put a watch over the phases of the commands."""
    watch = Watch()
    for owner, name, phase in (
        (cli_engine, "open_engine", "engine"),
        (judging, "open_engine", "engine"),
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
    return watch


def main(began_ns: int) -> None:
    """Run ``sys.argv[3:]``. ``began_ns`` is when Python came to its first line."""
    spawned_ns, times, words = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    watch = watched()
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
