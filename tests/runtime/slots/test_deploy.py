"""A deploy changes nothing until its last step, and takes nothing that is not proven."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import REPOSITORY, Done, jetspect

from jetspect.errors import DeployError, JetspectError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.config import StationConfig
from jetspect.runtime.signing import make_keys, sign_bundle
from jetspect.runtime.slots.deploy import deploy, roll_back
from jetspect.runtime.slots.folder import SlotFolder
from jetspect.runtime.slots.overview import overview
from jetspect.runtime.slots.state import read_state

Config = Callable[..., StationConfig]
Version = Callable[..., Path]


def lie(folder: SlotFolder) -> dict[str, str]:
    """What lies in the slots, and which is live."""
    slots = {s: Bundle.open(folder.place(s)).manifest.version for s in ("a", "b") if folder.filled(s)}  # type: ignore[arg-type]
    return {**slots, "live": str(folder.current())}


def test_deploys_take_turns_and_a_rollback_goes_back(
    folder: SlotFolder, version: Version, put: Callable[[Path], str]
) -> None:
    assert put(version("1")) == "a"
    assert put(version("2")) == "b"
    assert lie(folder) == {"a": "1", "b": "2", "live": "b"}
    assert roll_back(folder, "no reason").slot == "a"
    assert put(version("3")) == "b"
    assert lie(folder) == {"a": "1", "b": "3", "live": "b"}
    assert {path.name for path in folder.path.iterdir()} == {"a", "b", "current", "state.json", ".lock"}


def test_the_live_bundle_is_not_deployed_again_unless_it_is_damaged(
    folder: SlotFolder, config: Config, version: Version, put: Callable[[Path], str]
) -> None:
    put(version("1"))
    assert not deploy(version("1"), config(), folder, unsigned=True).fresh
    (folder.place("a") / "golden.npz").write_bytes(b"bit rot")
    assert deploy(version("1"), config(), folder, unsigned=True).slot == "b"


def test_a_key_is_wanted_and_holds(folder: SlotFolder, config: Config, version: Version, tmp_path: Path) -> None:
    bundle = version("1")
    private, public = make_keys(tmp_path / "keys")
    _, foreign = make_keys(tmp_path / "keys", "foreign")
    keyed = config(bundle={"slots": str(folder.path), "public_key": str(public)})
    for settings, options, says in (
        (config(), {}, "no public key to check the bundle with"),
        (config(), {"public_key": public}, "is not signed"),
        (keyed, {"unsigned": True}, "is not signed"),
    ):
        with pytest.raises(JetspectError, match=says):
            deploy(bundle, settings, folder, **options)
    sign_bundle(bundle, private)
    with pytest.raises(JetspectError, match="does not fit"):
        deploy(bundle, config(), folder, public_key=foreign)
    assert not folder.path.exists()
    assert "checked with" in deploy(bundle, keyed, folder).state.signature


def test_what_does_not_reproduce_its_golden_tiles_or_fit_the_station_changes_nothing(
    folder: SlotFolder, config: Config, version: Version, put: Callable[[Path], str], brightest: Any, tmp_path: Path
) -> None:
    put(version("1"))
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    spoiled = brightest.write(tmp_path / "spoiled", model=brightest.graph(spoil=9))
    cut = Path(shutil.copytree(spoiled, tmp_path / "cut"))
    (cut / "golden.npz").unlink()
    for path, settings, says in (
        (spoiled, config(), "does not reproduce"),
        (cut, config(), "golden.npz is missing"),
        (version("2"), config(tiling={"tile_px": 512}), "sees the whole frame at once"),
        (tmp_path / "nowhere", config(), "does not exist"),
    ):
        with pytest.raises(JetspectError, match=says):
            deploy(path, settings, folder, unsigned=True)
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_on_probation_the_way_back_is_kept(folder: SlotFolder, config: Config, version: Version, put: Any) -> None:
    put(version("1"))
    put(version("2"))
    with pytest.raises(DeployError, match="slot b is on probation"):
        deploy(version("3"), config(), folder, unsigned=True)
    assert not deploy(version("2"), config(), folder, unsigned=True).fresh  # what is live already takes nothing
    roll_back(folder, "by hand", by_hand=True)
    assert deploy(version("3"), config(), folder, unsigned=True).slot == "b"
    state = read_state(folder)
    assert state.probation is not None
    assert state.probation.slot == "b"
    none = config(slots={"probation_minutes": 0})
    assert deploy(version("4"), none, folder, unsigned=True, force=True).slot == "a"
    assert read_state(folder).probation is None


def test_a_bundle_that_only_looks_on_is_no_way_back(
    folder: SlotFolder, config: Config, version: Version, put: Any
) -> None:
    put(version("1"))
    deploy(version("2"), config(), folder, unsigned=True, shadow=True)
    with pytest.raises(DeployError, match="slot b holds brightest 2, which was deployed with --shadow"):
        roll_back(folder, "by hand", by_hand=True)
    assert lie(folder)["live"] == "a"
    assert [view.shadow for view in overview(folder).slots] == [False, True]
    roll_back(folder, "by hand", by_hand=True, force=True)
    assert [(view.live, view.shadow, view.on_probation) for view in overview(folder).slots] == [
        (False, False, False),
        (True, False, True),
    ]
    assert roll_back(folder, "worse").slot == "a"


def test_what_a_killed_fill_moved_away_is_put_back(folder: SlotFolder, version: Version, put: Any) -> None:
    """Between its two renames the spare is only there under another name."""
    put(version("1"))
    put(version("2"))
    (folder.path / "a").rename(folder.path / ".a.old")
    assert roll_back(folder, "by hand", by_hand=True).slot == "a"
    assert lie(folder) == {"a": "1", "b": "2", "live": "a"}
    (folder.path / "b").rename(folder.path / ".b.old")

    def die(step: str) -> None:
        if step.startswith("write "):
            raise OSError(28, "No space left on device")

    with pytest.raises(DeployError, match="No space left"):
        SlotFolder(folder.path, die).fill("b", {"x": b""}, lambda _: None)
    assert lie(folder) == {"a": "1", "b": "2", "live": "a"}


FULL_DISK = """
import sys
from pathlib import Path
from jetspect.errors import DeployError
from jetspect.runtime.config import load_station
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.slots import room
from jetspect.runtime.slots.deploy import deploy
from jetspect.runtime.slots.folder import SlotFolder
from jetspect.runtime.slots.overview import overview

config = load_station(Path(sys.argv[1]))
folder, filler = SlotFolder(config.bundle.slots), config.bundle.slots.with_name("filler")

def bring(path):
    try:
        deploy(Path(path), config, folder, unsigned=True, force=True)
    except DeployError as error:
        print(error)
    print(*(f"{v.bundle}{' live' * v.live}{v.fault}" for v in overview(folder).slots), sep=", ")

def fill():
    with filler.open("ab", 0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass

with Outbox(config.outbox.path) as outbox:
    bring(sys.argv[2])
    bring(sys.argv[3])
    filler.write_bytes(bytes(10 * 2**20))
    bring(sys.argv[4])  # refused before it takes room
    outbox.commit("t", lambda seq, event: bytes(20_000))
    room.space = lambda path: None  # from here on the room is not looked at
    fill()
    bring(sys.argv[4])
    filler.unlink()
    bring(sys.argv[4])
"""


def test_a_full_disk_leaves_both_slots_as_they_are(tmp_path: Path, version: Version) -> None:
    """On a real disk of 32 MB: a tmpfs in a mount namespace of its own."""
    disk, file = tmp_path / "disk", tmp_path / "station.toml"
    disk.mkdir()
    file.write_text(
        f"""
        station = {{site = "s", area = "a", line = "l", unit = "u"}}
        source = {{kind = "synthetic"}}
        engine = {{threads = 1}}
        bundle = {{slots = "{disk}/slots"}}
        outbox = {{path = "{disk}/o"}}
        """
    )
    script = f'mount -t tmpfs -o size=32m tmpfs "{disk}" && exec "$0" -c "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, FULL_DISK, file]
    done = subprocess.run(
        [*map(str, command), *(version(n) for n in "123")], cwd=REPOSITORY, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    first, second, refused, same, full, still, third = done.stdout.splitlines()
    assert (first, second) == ("brightest 1 live, empty", "brightest 1, brightest 2 live")
    assert re.search(r"has \d+ MiB of room and a deploy of this bundle needs 17, of which 16 stay for results", refused)
    assert "No space left on device" in full
    assert (same, still, third) == (second, second, "brightest 3 live, brightest 2")


def test_everything_is_on_the_disk_before_the_name_that_makes_it_count(
    folder: SlotFolder, config: Config, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut keeps what was synced. Each name appears after what it stands for, and is synced itself."""
    told: list[str] = []
    fsync = os.fsync

    def spy(handle: int) -> None:
        told.append("sync " + re.sub(r"^.*/slots/?", "", str(Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    deploy(version("1"), config(), SlotFolder(folder.path, told.append), unsigned=True)
    files = ["SHA256SUMS", "golden.npz", "manifest.json", "model.fp32.onnx"]
    assert told == [
        *[line for name in files for line in (f"write {name}", f"sync .a.new/{name}")],
        "sync .a.new",
        "name the new bundle",
        "sync the names",
        "sync ",
        "write the state",
        "sync .state.json.new",
        "name the state",
        "sync ",
        "make the new pointer",
        "switch the pointer",
        "sync the pointer",
        "sync ",
    ]


def test_a_rollback_needs_something_to_go_back_to(folder: SlotFolder, version: Version, put: Any) -> None:
    with pytest.raises(DeployError, match="nothing is deployed"):
        roll_back(folder, "")
    put(version("1"))
    with pytest.raises(DeployError, match="slot b is empty"):
        roll_back(folder, "")
    put(version("2"))
    (folder.place("a") / "manifest.json").write_text("{}")
    with pytest.raises(DeployError, match="slot a cannot be gone back to"):
        roll_back(folder, "")
    assert folder.current() == "b"


def test_two_deploys_do_not_meet(
    folder: SlotFolder, config: Config, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetspect.runtime.slots.deploy._QUICK_S", 0.0)
    folder.make()
    with folder.lock(), pytest.raises(DeployError, match="another deploy or rollback"):
        deploy(version("1"), config(), folder, unsigned=True)


@pytest.mark.parametrize("text", [b"", b"{", b'{"version": 1, "slots": {"c": {}}}', b"\xff" * 10, b"[" * 2_000_000])
def test_a_damaged_state_file_costs_notes_and_no_bundle(
    folder: SlotFolder, version: Version, put: Any, text: bytes
) -> None:
    put(version("1"))
    (folder.path / "state.json").write_bytes(text)
    assert put(version("2")) == "b"
    assert lie(folder) == {"a": "1", "b": "2", "live": "b"}


def test_a_pointer_that_leads_elsewhere_is_refused(folder: SlotFolder, version: Version, put: Any) -> None:
    put(version("1"))
    (folder.path / "current").unlink()
    (folder.path / "current").symlink_to("/etc")
    with pytest.raises(DeployError, match="leads to '/etc'"):
        put(version("2"))


def command(tmp_path: Path, *words: object) -> Done:
    return jetspect("device", *words, "--station", tmp_path / "station.toml")


def test_the_commands_show_what_they_do(tmp_path: Path, version: Version, folder: SlotFolder) -> None:
    (tmp_path / "station.toml").write_text(
        """
        station = {site = "s", area = "a", line = "l", unit = "u"}
        bundle = {slots = "slots"}
        source = {kind = "synthetic"}
        """
    )
    assert command(tmp_path, "slots").returncode == 1
    assert "no public key" in command(tmp_path, "deploy", version("1")).stderr
    assert "slot a is live" in command(tmp_path, "deploy", version("1"), "--unsigned").stdout
    assert "slot a was live already" in command(tmp_path, "deploy", version("1"), "--unsigned").stdout
    assert json.loads(command(tmp_path, "deploy", version("2"), "--unsigned", "--json").stdout)["slot"] == "b"
    shown = json.loads(command(tmp_path, "slots", "--json").stdout)
    assert [(s["bundle"], s["live"], s["on_probation"]) for s in shown["slots"]] == [
        ("brightest 1", False, False),
        ("brightest 2", True, True),
    ]
    assert "slot a is live" in command(tmp_path, "rollback").stdout
    assert "switched back, slot a: asked for by hand" in command(tmp_path, "slots").stdout
    (folder.place("a") / "manifest.json").write_text("{}")
    assert command(tmp_path, "slots").returncode == 1


def test_a_station_file_names_a_bundle_or_slots(tmp_path: Path) -> None:
    head = 'station = {site = "s", area = "a", line = "l", unit = "u"}\nsource = {kind = "synthetic"}\n'
    for lines, says in (
        ("bundle = {}", "give path, one bundle, or slots"),
        ('bundle = {path = "p", slots = "s"}', "give path, one bundle, or slots"),
        ('bundle = {path = "p"}\n[slots]\nmin_frames = 9', "[slots] is for a station with bundle.slots"),
        ('bundle = {path = "p"}', "to deploy, write [bundle] slots"),
        ('bundle = {slots = "s"}\n[slots]\nmax_nok_rise = 5', "slots.max_nok_rise"),
    ):
        (tmp_path / "station.toml").write_text(head + lines)
        done = command(tmp_path, "slots")
        assert (done.returncode, says in done.stderr) == (2, True), done.stderr
