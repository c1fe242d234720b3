"""The collection of device/ansible: two units over real SSH, from nothing to a bundle that is taken back."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from brightest import Brightest
from offline_wheels import offline_wheels
from ssh_unit import USER, SshUnit

COLLECTION = Path(__file__).resolve().parents[2] / "device" / "ansible"
NAMES = ("island-1", "island-2")
STATION = """
[station]
site = "s"
area = "a"
line = "l"
unit = "{{ inventory_hostname }}"
[bundle]
slots = "/var/lib/jetspect/slots"
[slots]
probation_minutes = 0
[source]
kind = "synthetic"
size_wh = [128, 64]
[engine]
threads = 1
[outbox]
path = "/var/lib/jetspect/outbox.sqlite"
[broker]
host = "127.0.0.1"
port = {{ broker_port }}
username = "{{ inventory_hostname }}"
password_env = "BROKER_PASSWORD"
[broker.tls]
ca = "ca.crt"
cert = "station.crt"
key = "station.key"
{{ more | default('') }}
"""


@dataclass(frozen=True)
class Played:
    """What a playbook did: its end, everything it said, and for each unit how often which happened."""

    returncode: int
    said: str
    recap: dict[str, dict[str, int]]

    def __getitem__(self, unit: str) -> dict[str, int]:
        return self.recap[unit]

    @property
    def fine(self) -> bool:
        return self.returncode == 0 and not any(r["failed"] + r["unreachable"] for r in self.recap.values())


class Fleet:
    """Two units, the collection as a user installs it, and an inventory."""

    def __init__(self, folder: Path, units: dict[str, SshUnit], login: Path, facts: dict[str, object]) -> None:
        self.units = units
        self._folder = folder
        self._serving = ExitStack()
        known = folder / "known_hosts"
        known.write_text("".join(f"[127.0.0.1]:{unit.port} {unit.host_key}\n" for unit in units.values()))
        hosts = {name: {"ansible_port": unit.port} for name, unit in units.items()}
        common = {
            "ansible_host": "127.0.0.1",
            "ansible_user": USER,
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": str(login),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=/dev/null",
            **facts,
        }
        (folder / "inventory.json").write_text(json.dumps({"jetspect": {"hosts": hosts, "vars": common}}))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_FORKS": "2",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_DEPRECATION_WARNINGS": "true",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
            "LC_ALL": "C.UTF-8",
        }
        self.tool("ansible-galaxy", "collection", "install", "--offline", COLLECTION, "-p", folder / "collections")

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self._serving.close()

    def begin(self, name: str, like: str | None = None) -> None:
        """Have a unit serve; one like another has its /opt, without the links."""
        unit = self.units[name]
        if like is not None:
            unit.path("/opt").mkdir()
            for folder in self.units[like].path("/opt").glob("jetspect-*"):
                subprocess.run(["cp", "--archive", "--link", folder, unit.path("/opt")], check=True)
        self._serving.enter_context(unit)

    def tool(self, name: str, *words: object) -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).with_name(name), *map(str, words)]
        return subprocess.run(
            command, env=self._environment, cwd=self._folder, capture_output=True, text=True, timeout=240
        )

    def play(self, playbook: str, *words: str, **extra: object) -> Played:
        done = self.tool(
            "ansible-playbook",
            "-i",
            "inventory.json",
            f"jetspect.fleet.{playbook}",
            "-e",
            json.dumps(extra, default=str),
            *words,
        )
        recap = {}
        for line in done.stdout.partition("PLAY RECAP")[2].splitlines()[1:]:
            if line.strip():
                name, _, counts = line.partition(" : ")
                recap[name.strip()] = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counts)}
        return Played(done.returncode, done.stdout + done.stderr, recap)

    def live(self) -> dict[str, str]:
        """The version of the bundle in each unit's live slot."""
        found = {}
        for name, unit in self.units.items():
            slots = unit.path("/var/lib/jetspect/slots")
            live = (slots / "current").readlink()
            found[name] = json.loads((slots / live / "manifest.json").read_bytes())["version"]
        return found


@pytest.fixture
def bundles(tmp_path: Path) -> Callable[..., Path]:
    def write(version: str, *, packed: bool = True, spoil: int = 0) -> Path:
        data = Brightest.graph(spoil=spoil)
        said: dict[str, Any] = {**Brightest.manifest(data), "version": version}
        folder = Brightest.write(tmp_path / f"brightest-{version}", model=data, said=said)
        return Path(shutil.make_archive(str(folder), "zip", folder)) if packed else folder

    return write


@pytest.fixture
def fleet(tmp_path: Path, mosquitto: Callable[..., Any]) -> Iterator[Fleet]:
    plant = Authority(tmp_path, "plant")
    broker = mosquitto(plant.listener(*plant.issue("broker"), "require_certificate true\nallow_anonymous true"))
    for name in NAMES:
        plant.issue(name)
    login = tmp_path / "login"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", login], check=True)
    (tmp_path / "station.toml.j2").write_text(STATION)
    facts = {
        "broker_port": broker.port,
        "jetspect_wheelhouse": str(offline_wheels().path),
        "jetspect_station_template": str(tmp_path / "station.toml.j2"),
        "jetspect_ca": str(plant.ca),
        "jetspect_certificate": f"{tmp_path}/{{{{ inventory_hostname }}}}.crt",
        "jetspect_key": f"{tmp_path}/{{{{ inventory_hostname }}}}.key",
        "jetspect_environment": {"BROKER_PASSWORD": "a $HOME of its own"},
        "jetspect_unsigned": True,
    }
    with Fleet(tmp_path, {name: SshUnit(tmp_path / name, login) for name in NAMES}, login, facts) as made:
        made.begin(NAMES[0])
        yield made


@pytest.mark.timeout(600)
def test_two_units_are_brought_up_and_a_rollout_stops_at_the_first_that_refuses(
    fleet: Fleet, bundles: Callable[..., Path]
) -> None:
    first, second = NAMES
    one, two, bad = bundles("1", packed=False), bundles("2"), bundles("3", spoil=9)
    made = fleet.play("site", "--limit", first, jetspect_bundle=one)
    assert made.fine, made.said
    assert "checks, none failed" in made.said
    assert "takes the login" in made.said  # with the unit's certificate and password
    key, slots = (
        fleet.units[first].path(name).stat() for name in ("/etc/jetspect/station.key", "/var/lib/jetspect/slots")
    )
    assert (oct(key.st_mode & 0o777), key.st_uid) == ("0o600", slots.st_uid)
    assert slots.st_uid != 0

    # The second one has this version, as after an install that was cut off before the last step.
    fleet.begin(second, like=first)
    again = fleet.play("site", jetspect_bundle=one)
    assert again.fine, again.said
    assert again[first]["changed"] == 0, again.said
    assert fleet.live() == {first: "1", second: "1"}

    rolled = fleet.play("rollout", jetspect_bundle=two)
    assert rolled.fine, rolled.said
    assert fleet.live() == {first: "2", second: "2"}

    stopped = fleet.play("rollout", jetspect_bundle=bad)
    assert stopped.returncode == 2
    assert "does not reproduce" in stopped.said
    assert "Live there: brightest 2. Not begun: island-2" in " ".join(stopped.said.split())
    assert [fleet.units[name].exists("/var/cache/jetspect-bundles/brightest-3.zip") for name in NAMES] == [False, False]
    assert fleet.live() == {first: "2", second: "2"}

    back = fleet.play("rollback", jetspect_rollback_from="brightest 2")
    assert back.fine, back.said
    assert fleet.live() == {first: "1", second: "1"}
