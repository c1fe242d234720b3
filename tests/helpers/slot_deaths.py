"""A deploy that dies at each of its steps, and a station that starts from what it left.

Imports cost hundreds of milliseconds; every death is one of a fork of a process that has them and no second thread.
Run with: the station file, the live bundle, the one in the other slot, and the one that is deployed. Prints a JSON line for
each life of a deploy, then of a rollback: how it ended, at which step, and the bundle that the next station starts with.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from jetspect.runtime.assembly import build_station
from jetspect.runtime.config import StationConfig, load_station
from jetspect.runtime.slots.deploy import deploy, roll_back
from jetspect.runtime.slots.folder import SlotFolder

DIED = 9


def in_a_child(work: Callable[[], None]) -> int:
    """Run in a process of its own; return its exit code."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def start_station(config: StationConfig) -> str:
    """Open every part of a station and prove its engine; return the version of the bundle that would judge."""
    with build_station(config) as station:
        build = station.health().build
    return "" if build is None else build.model.version


def main(file: Path, live: Path, spare: Path, new: Path) -> None:
    config = load_station(file)
    folder = config.bundle.slots
    assert folder is not None
    prepared = folder.with_name("prepared")

    def prepare() -> None:
        for bundle in (spare, live):
            deploy(bundle, config, SlotFolder(folder), unsigned=True, force=True)

    assert in_a_child(prepare) == 0
    folder.rename(prepared)
    for work in ("deploy", "rollback"):
        die_at_each_step(config, folder, prepared, work, new)


def die_at_each_step(config: StationConfig, folder: Path, prepared: Path, work: str, new: Path) -> None:
    number = 0
    while True:
        number += 1
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(prepared, folder, symlinks=True)
        steps: list[str] = []
        told, tell = os.pipe()

        def die(step: str, at: int = number, steps: list[str] = steps, tell: int = tell) -> None:
            steps.append(step)
            if len(steps) == at:
                os.write(tell, step.encode())
                os._exit(DIED)

        def change() -> None:
            doomed = SlotFolder(folder, die)
            if work == "deploy":
                deploy(new, config, doomed, unsigned=True, force=True)
            else:
                roll_back(doomed, "by hand", by_hand=True)

        code = in_a_child(change)
        os.close(tell)
        with os.fdopen(told) as pipe:
            step = pipe.read()
        print(json.dumps({"work": work, "code": code, "step": step, "starts": start_station(config)}), flush=True)
        if code != DIED:
            return


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
