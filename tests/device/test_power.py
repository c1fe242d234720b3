"""Power modes on a board's files. NVIDIA's tools are shell scripts here that do what theirs are documented to do."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from boards import put, unpack
from commands import jetspect

from jetspect.device.power import set_power
from jetspect.device.power_changes import changes
from jetspect.device.power_modes import PowerMode, read_power_modes
from jetspect.device.sensors import Sensors
from jetspect.errors import InputError, JetspectError

_CLOCKS = """#!/bin/sh
echo "$@" >> {root}/ran
case "$1" in
--store) echo "limits of $(cat {root}/var/lib/nvpmodel/status)" > "$2" ;;
--restore) test "$(cat "$2")" = "limits of $(cat {root}/var/lib/nvpmodel/status)" || {{ echo wrong mode >&2; exit 4; }} ;;
esac
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


def test_clocks_that_were_kept_in_one_mode_never_come_back_on_another(board: Path) -> None:
    """The stand-in for jetson_clocks refuses that; the real one would not."""
    kept = board / "run/jetspect-clocks.conf"
    set_power("15W", clocks=True, root=board, user=0)
    second = set_power("MAXN_SUPER", clocks=True, root=board, user=0)
    assert second.did == (
        f"jetson_clocks --restore {kept}",
        "nvpmodel -m 2",
        f"jetson_clocks --store {kept}",
        "jetson_clocks",
    )
    assert second.undo == (
        f"sudo jetson_clocks --restore {kept} && sudo rm {kept}",
        "sudo jetspect device power set 0 --clocks",
    )
    assert kept.read_text() == "limits of pmode:0002\n"
    assert set_power("25W", root=board, user=0).did == (f"jetson_clocks --restore {kept}", "nvpmodel -m 1")
    assert not kept.exists()


def test_a_change_names_the_knobs_that_differ() -> None:
    def mode(cores: int, cpu: str, gpu: str, mask: str) -> PowerMode:
        online = tuple(("CPU_ONLINE", f"CORE_{n}", str(int(n < cores))) for n in range(8))
        more = (("CPU_A78_0", "MAX_FREQ", cpu), ("GPU", "MAX_FREQ", gpu), ("TPC_POWER_GATING", "TPC_PG_MASK", mask))
        return PowerMode(0, "M", (*online, *more))

    slow, fast = mode(4, "1497600", "612000000", "1"), mode(8, "1728000", "-1", "0")
    assert changes(slow, fast) == (
        "cores 4 -> 8",
        "CPU_A78_0 1498 MHz -> 1728 MHz",
        "GPU 612 MHz -> highest",
        "TPC_POWER_GATING TPC_PG_MASK 1 -> 0",
    )
    assert changes(slow, replace(slow, settings=slow.settings[:-2])) == (
        "GPU 612 MHz -> not set",
        "TPC_POWER_GATING TPC_PG_MASK 1 -> not set",
    )
    assert changes(slow, slow) == changes(None, slow) == changes(slow, None) == ()


@pytest.mark.parametrize("code", [0, 255])
def test_a_mode_that_wants_a_reboot_is_told_whatever_the_exit_code(board: Path, code: int) -> None:
    """Some versions note the mode already, and it does not hold before the reboot."""
    told = "NVPM WARN: Reboot required for changing to this power mode: 2"
    note = f'printf "pmode:%04d" "$2" > {board}/var/lib/nvpmodel/status'
    tool(board, "nvpmodel", f'#!/bin/sh\n{note}\necho "{told}"\nexit {code}\n')
    with pytest.raises(JetspectError, match="it needs a reboot for it; run: sudo nvpmodel -m 2, and answer"):
        set_power("2", root=board, user=0)


def test_thor_has_the_modes_of_its_documentation(tmp_path: Path) -> None:
    modes = read_power_modes(unpack("thor", tmp_path)).modes
    assert [(m.number, m.name) for m in modes] == [(0, "MAXN"), (1, "120W"), (2, "90W"), (3, "70W")]


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
    assert done == [
        "power mode: 25W -> MAXN_SUPER",
        "  GPU 918 MHz -> highest",
        "  ran:  nvpmodel -m 2",
        "  undo: sudo nvpmodel -m 1",
    ]
    told = json.loads(jetspect("device", "power", "set", "2", "--json").stdout)
    assert told == {"before": "MAXN_SUPER", "after": "MAXN_SUPER", "changes": [], "did": [], "undo": []}


def test_a_machine_without_power_modes_says_so(tmp_path: Path) -> None:
    with pytest.raises(JetspectError, match="only a Jetson has power modes"):
        set_power("MAXN", root=tmp_path, user=0)
    for words in (("show",), ("set", "MAXN")):
        done = jetspect("device", "power", *words)
        assert (done.returncode, "Jetson" in done.stderr) == (2, True)
