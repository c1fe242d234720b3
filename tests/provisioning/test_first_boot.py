"""The first boot: clock, progress and machine by themselves, then a whole one in a Debian of its own, against a real broker."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from commands import REPOSITORY, jetspect
from debian_root import DebianRoot
from fleets import FleetFolder
from offline_wheels import offline_wheels

from jetspect.provisioning import first_boot
from jetspect.provisioning.first_boot import Clock, Note, Progress, Trouble, check_clock, check_machine
from jetspect.runtime.publishing.broker import BrokerSettings, make_client
from jetspect.runtime.publishing.commissioning_message import CommissioningMessage
from jetspect.runtime.publishing.tls import TlsSettings

ISSUED, ENDS = 1_800_000_000, 1_831_000_000
SCRIPT = ("/usr/bin/python3", "-I", "/opt/jetspect-provision/first_boot.py")
TOPIC = "jetspect/v1/plant-1/press-shop/line-2/island-1/commissioning"
NOTE = Note(
    id="a" * 64,
    unit="island-1",
    python=f"{sys.version_info.major}.{sys.version_info.minor}",
    architecture=platform.machine(),
    issued=ISSUED,
    not_after=ENDS,
    time_servers=False,
    unsigned=True,
    user="jetspect",
    private=(),
    station="/etc/jetspect/station.toml",
    state="/var/lib/jetspect",
    home="/opt/jetspect",
    wheels="/opt/jetspect-provision/wheels",
    bundle="/opt/jetspect-provision/bundle",
)


class SetClock(Clock):
    """A clock that is set without setting the test machine's."""

    def __init__(self, now: float, may_set: bool = True) -> None:
        self._now, self._may_set = now, may_set

    def now(self) -> float:
        return self._now

    def set(self, seconds: float) -> None:
        if not self._may_set:
            raise PermissionError(1, "Operation not permitted")
        self._now = seconds


def test_a_clock_in_1970_is_set_to_when_the_overlay_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    clock = SetClock(5.0)
    check_clock(NOTE, clock)
    assert clock.now() == ISSUED
    assert "the clock said 1970-01-01 00:00:05 UTC; set to 2027-01-15" in capsys.readouterr().out


def test_a_clock_that_is_right_is_left_alone() -> None:
    for now in (ISSUED, ENDS):
        clock = SetClock(now)
        check_clock(NOTE, clock)
        assert clock.now() == now


def test_a_clock_that_cannot_be_set_and_a_certificate_that_ended_are_told() -> None:
    with pytest.raises(Trouble, match=r"the clock says 1970-.*begins at 2027-.*sudo date -s '2027-"):
        check_clock(NOTE, SetClock(5.0, may_set=False))
    with pytest.raises(Trouble, match=r"ended at 2028-.*provision --renew"):
        check_clock(NOTE, SetClock(ENDS + 1))


def test_another_machine_is_refused() -> None:
    check_machine(NOTE)
    with pytest.raises(Trouble, match=r"is for Python 3\.8 on"):
        check_machine(replace(NOTE, python="3.8"))
    with pytest.raises(Trouble, match="on riscv64, this is Python"):
        check_machine(replace(NOTE, architecture="riscv64"))


def test_steps_are_remembered_for_one_overlay_only(tmp_path: Path) -> None:
    progress = Progress("one", tmp_path)
    progress.add("packages")
    assert Progress("one", tmp_path).done == ["packages"]
    assert not (tmp_path / "commissioned").exists()
    progress.add("self-test")
    assert Progress("one", tmp_path).done == ["packages", "self-test"]
    assert (tmp_path / "commissioned").exists()
    assert Progress("two", tmp_path).done == []
    assert not (tmp_path / "commissioned").exists(), "a station must not start before the new overlay is proven"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "one"}', '{"id": "one", "done": 7}'])
def test_notes_that_a_power_cut_damaged_begin_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "steps.json").write_text(text)
    assert Progress("one", tmp_path).done == []


def test_a_damaged_overlay_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_boot, "STATE", tmp_path / "state")
    (tmp_path / "unit.json").write_text('{"id": 1}')
    assert first_boot.main(tmp_path / "unit.json") == 1
    told = capsys.readouterr().out.splitlines()
    assert "NOT brought up" in told[0] and "unpack the overlay again" in told[0]
    assert told[1] == "jetspect: it is tried again every minute and at the next boot"


@pytest.fixture
def debian(tmp_path: Path) -> DebianRoot:
    return DebianRoot(tmp_path / "debian")


@pytest.mark.timeout(600)
def test_a_unit_brings_itself_up_in_a_debian_of_its_own(
    tmp_path: Path, debian: DebianRoot, mosquitto: Callable[..., Any]
) -> None:
    """Killed in the middle, without a broker at first, and then to the end; the access list is that of examples/mosquitto."""
    fleet = FleetFolder(tmp_path / "f")
    ca = fleet.folder / "ca"
    listener = f"cafile {ca}/ca.crt\ncertfile {ca}/broker.crt\nkeyfile {ca}/broker.key\nrequire_certificate true"
    acl = REPOSITORY / "examples" / "mosquitto" / "acl"
    broker = mosquitto(f"use_identity_as_username true\nallow_anonymous false\nacl_file {acl}", listener)
    fleet.edit(("8883", str(broker.port)), ('wheelhouse = "wheels"', f'wheelhouse = "{offline_wheels().path}"'))
    fleet.make()
    overlay = fleet.out / "island-1.tar"
    debian.run("sh", "-c", "tar -xp --numeric-owner -C /", stdin=overlay.read_bytes())
    modes = "stat -c '%a %U:%G %n' /etc/jetspect/unit.key /etc/NetworkManager/system-connections/* /etc/hostname"
    assert debian.run("sh", "-c", modes).stdout.decode().splitlines() == [
        "600 root:root /etc/jetspect/unit.key",
        "600 root:root /etc/NetworkManager/system-connections/jetspect.nmconnection",
        "644 root:root /etc/hostname",
    ]
    assert debian.run("systemctl", "is-enabled", first_boot.UNIT).stdout == b"enabled\n"

    begun = "ls /opt/jetspect/lib/python3.11/site-packages/*.dist-info > /dev/null 2>&1"
    killed = f"{' '.join(SCRIPT)} & p=$!; while kill -0 $p && ! {begun}; do sleep 0.05; done; kill -9 $p"
    debian.run("sh", "-c", killed)
    broker.kill()
    cut = debian.run(*SCRIPT, check=False)
    assert cut.returncode == 1
    told = cut.stdout.decode()
    assert all(f"[{number}/5]" in told for number in range(1, 6)), told
    assert "fail     broker" in told and "NOT brought up" in told and "nothing listens there" in told
    assert debian.run("systemctl", "is-enabled", first_boot.UNIT).stdout == b"enabled\n"
    assert (debian.changed / "var/lib/jetspect-first-boot/commissioned").is_file(), "it may inspect: results wait"

    broker.start()
    done = debian.run(*SCRIPT).stdout.decode()
    assert "[5/5]" in done and "[4/5]" not in done
    received: list[paho.MQTTMessage] = []
    cert, key = jetspect_login(fleet)
    tls = TlsSettings(ca=ca / "ca.crt", cert=cert, key=key)
    client = make_client(BrokerSettings(host="127.0.0.1", port=broker.port, tls=tls), "watcher")
    client.on_connect = lambda c, *_: c.subscribe(TOPIC, qos=1)
    client.on_message = lambda c, data, message: received.append(message)
    client.connect("127.0.0.1", broker.port)
    while not received:
        client.loop(timeout=5)
    client.disconnect()
    assert received[0].retain
    message = CommissioningMessage.model_validate_json(received[0].payload)
    assert (message.ok, message.bundle, message.engine) == (True, "metal-demo 1.0.0", "onnxruntime")
    verdicts = {check.name: check.verdict for check in message.checks}
    assert {verdicts[name] for name in ("bundle", "graph", "golden tiles", "camera", "broker")} == {"ok"}
    kept = debian.changed / "var/lib/jetspect/first-boot.json"
    assert CommissioningMessage.model_validate_json(kept.read_bytes()) == message

    # The same overlay unpacked again makes the key root's; the station must have it back.
    debian.run("sh", "-c", "tar -xp --numeric-owner -C /", stdin=overlay.read_bytes())
    after = debian.run(
        "sh",
        "-c",
        f"{' '.join(SCRIPT)}; stat -c '%a %U' /etc/jetspect/unit.key; systemctl is-enabled jetspect jetspect-first-boot; "
        "systemd-analyze verify --man=no jetspect.service jetspect-first-boot.service",
    )
    assert after.stdout.decode().splitlines() == [
        "jetspect: island-1 was brought up before; nothing to do",
        "600 jetspect",
        "enabled",
        "disabled",
    ]


def jetspect_login(fleet: FleetFolder) -> tuple[Path, Path]:
    """Issue ``historian``, who may read, from the fleet's CA."""
    from datetime import datetime, timezone

    from jetspect.provisioning.authority import load_authority

    now = datetime.now(timezone.utc)
    ca = load_authority(fleet.folder / "ca/ca.crt", fleet.folder / "ca/ca.key", None, now)
    made = ca.issue("historian", days=1, now=now)
    cert, key = fleet.folder / "historian.crt", fleet.folder / "historian.key"
    cert.write_bytes(made.certificate)
    key.write_bytes(made.key)
    return cert, key


def test_there_is_nothing_to_publish_before_the_self_test(tmp_path: Path) -> None:
    station = tmp_path / "station.toml"
    station.write_text(
        (REPOSITORY / "examples" / "station.toml").read_text().replace("../bundles", str(REPOSITORY / "bundles"))
    )
    words = ("device", "commission", "--station", station, "--out", tmp_path / "first-boot.json")
    refused = jetspect(*words, "--publish")
    assert refused.returncode == 2 and "the self-test comes first" in refused.stderr
    (tmp_path / "first-boot.json").write_text("{}")
    refused = jetspect(*words, "--publish")
    assert refused.returncode == 2 and "is no outcome of a self-test" in refused.stderr


def test_the_outcome_is_kept_and_a_failure_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(
        '[station]\nsite = "s"\narea = "a"\nline = "l"\nunit = "u"\n[bundle]\npath = "nowhere"\n[source]\nkind = "synthetic"\n'
    )
    out = tmp_path / "first-boot.json"
    done = jetspect("device", "commission", "--station", tmp_path / "station.toml", "--out", out, "--json")
    assert done.returncode == 1, done.stderr
    kept = json.loads(out.read_text())
    assert kept == json.loads(done.stdout)
    assert (kept["ok"], kept["bundle"], kept["manifest_sha256"]) == (False, "", None)
    refused = jetspect("device", "commission", "--station", tmp_path / "station.toml", "--out", out, "--publish")
    assert refused.returncode == 2 and "has no [broker]" in refused.stderr
