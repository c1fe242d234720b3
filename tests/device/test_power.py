"""Power modes on a board's files. NVIDIA's tools are shell scripts here that do what theirs are documented to do."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from boards import put, unpack
from commands import jetspect

from jetspect.device.power import set_power
from jetspect.device.power_modes import read_power_modes
from jetspect.device.sensors import Sensors
from jetspect.errors import InputError, JetspectError

_CLOCKS = """#!/bin/sh
echo "$@" >> {root}/ran
if [ "$1" = --store ]; then echo kept > "$2"; fi
"""


def tool(root: Path, name: str, script: str) -> None:
    put(root, f"usr/sbin/{name}", script)
    (root / "usr/sbin" / name).chmod(0o755)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    root = unpack("orin-nano", tmp_path)
    tool(root, "nvpmodel", f'#!/bin/sh\nprintf "pmode:%04d" "$2" > {root}/var/lib/nvpmodel/status\n')
    tool(root, "jetson_clocks", _CLOCKS.format(root=root))
    return root


def test_a_mode_is_set_by_name_and_the_way_back_is_told(board: Path) -> None:
    changed = set_power("maxn_super", root=board, user=0)
    assert changed.before is not None
    assert changed.after is not None
    assert (changed.before.name, changed.after.name) == ("25W", "MAXN_SUPER")
    assert (changed.did, changed.undo) == (("nvpmodel -m 2",), ("sudo nvpmodel -m 1",))
    again = set_power("2", root=board, user=0)
    assert (again.did, again.undo) == ((), ())


def test_clocks_are_kept_once_before_they_are_held(board: Path) -> None:
    kept = board / "run/jetspect-clocks.conf"
    first = set_power("25W", clocks=True, root=board, user=0)
    second = set_power("25W", clocks=True, root=board, user=0)
    assert first.did == (f"jetson_clocks --store {kept}", "jetson_clocks")
    assert second.did == ("jetson_clocks",)
    assert first.undo == second.undo == (f"sudo jetson_clocks --restore {kept} && sudo rm {kept}",)


def test_who_is_not_root_gets_the_line_to_run_and_nothing_changes(board: Path) -> None:
    with pytest.raises(JetspectError, match=r"run: sudo jetspect device power set MAXN_SUPER --clocks$"):
        set_power("2", clocks=True, root=board, user=1000)
    assert read_power_modes(board).current == read_power_modes(board).named("25W")


def test_a_mode_that_the_board_has_not_is_refused_with_those_it_has(board: Path) -> None:
    with pytest.raises(InputError, match="0 15W, 1 25W, 2 MAXN_SUPER"):
        set_power("60W", root=board, user=0)


@pytest.mark.parametrize(
    ("script", "told"),
    [("#!/bin/sh\ntrue", "answer its question with YES"), ("#!/bin/sh\necho no right >&2; exit 3", "exit code 3: no right"),
     ("#!/nowhere", "cannot be run")],
)  # fmt: skip
def test_a_tool_that_fails_or_wants_a_reboot_is_told(board: Path, script: str, told: str) -> None:
    tool(board, "nvpmodel", script)
    with pytest.raises(JetspectError, match=told):
        set_power("15W", root=board, user=0)


def test_the_command_shows_the_modes_and_what_a_change_did(board: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jetspect.cli.device_power.read_power_modes", partial(read_power_modes, board))
    monkeypatch.setattr("jetspect.cli.device_power.Sensors", partial(Sensors, board))
    monkeypatch.setattr("jetspect.cli.device_power.set_power", partial(set_power, root=board, user=0))
    shown = jetspect("device", "power", "show").stdout.splitlines()
    assert [line.split() for line in shown[:3]] == [["0", "15W"], ["1", "25W", "set,", "default"], ["2", "MAXN_SUPER"]]
    assert shown[3] == "now: 6.6 W; cpu 1510 MHz, gpu 625 MHz, emc 2133 MHz"
    assert json.loads(jetspect("device", "power", "show", "--json").stdout)["mode"] == "25W"
    done = jetspect("device", "power", "set", "MAXN_SUPER").stdout.splitlines()
    assert done == ["power mode: 25W -> MAXN_SUPER", "  ran:  nvpmodel -m 2", "  undo: sudo nvpmodel -m 1"]
    told = json.loads(jetspect("device", "power", "set", "2", "--json").stdout)
    assert told == {"before": "MAXN_SUPER", "after": "MAXN_SUPER", "did": [], "undo": []}


def test_a_machine_without_power_modes_says_so(tmp_path: Path) -> None:
    with pytest.raises(JetspectError, match="only a Jetson has power modes"):
        set_power("MAXN", root=tmp_path, user=0)
    for words in (("show",), ("set", "MAXN")):
        done = jetspect("device", "power", *words)
        assert (done.returncode, "Jetson" in done.stderr) == (2, True)
