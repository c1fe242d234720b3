"""Whatever step a deploy or a rollback is killed at, the station starts with a whole bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


def test_killed_at_any_step_the_station_starts_with_a_whole_slot(tmp_path: Path, version: Callable[..., Path]) -> None:
    """Before the pointer is switched it is the old bundle, from then on the new one; never none, never half of one."""
    station = tmp_path / "station.toml"
    station.write_text(
        """
        station = {site = "s", area = "a", line = "l", unit = "u"}
        bundle = {slots = "slots"}
        source = {kind = "synthetic", size_wh = [128, 64], frames = 1}
        engine = {threads = 1}
        """
    )
    program = REPOSITORY / "tests" / "helpers" / "slot_deaths.py"
    done = subprocess.run(
        [sys.executable, program, station, version("2"), version("1"), version("3")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lives = [json.loads(line) for line in done.stdout.splitlines()]
    for work, new, fewest_steps in (("deploy", "3", 13), ("rollback", "1", 5)):
        *deaths, lived = [life for life in lives if life["work"] == work]
        assert (lived["code"], lived["starts"]) == (0, new)
        steps = [death["step"] for death in deaths]
        assert len(steps) >= fewest_steps
        switched = steps.index("sync the pointer")
        assert [death["starts"] for death in deaths] == ["2"] * switched + [new] * (len(steps) - switched)
