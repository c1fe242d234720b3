"""The unit and its files: judged by systemd's own tools, and gone again after an uninstall."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Done, jetspect

from jetspect.runtime.service.advice import refused
from jetspect.runtime.service.install import uninstall

STATION = Path("/etc/jetspect/station.toml")
RESULTS = {"outbox": {"path": "/var/lib/jetspect/outbox.sqlite"}}
UNIT = "etc/systemd/system/jetspect.service"
LIMIT = 2.5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a device: Python is there, and what units are ordered by."""
    made = tmp_path / "root"
    (made / "etc/jetspect").mkdir(parents=True)
    (made / "opt/jetspect/bin").mkdir(parents=True)
    python = made / "opt/jetspect/bin/python3"
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    return made


@pytest.fixture
def station(root: Path) -> Callable[..., Path]:
    def write(**sections: object) -> Path:
        data = {
            "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
            "bundle": {"path": "/opt/bundles/pits"},
            "source": {"kind": "synthetic"},
            **RESULTS,
            **sections,
        }
        lines = [f"{key} = {value}" for key, value in data.items() if not isinstance(value, dict)]
        for section, values in data.items():
            if isinstance(values, dict):
                lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        (root / STATION.relative_to("/")).write_text("\n".join(lines))
        return STATION

    return write


def install(root: Path, *words: object) -> Done:
    return jetspect("device", "install", STATION, "--root", root, "--python", "/opt/jetspect/bin/python3", *words)


def tool(*words: object) -> subprocess.CompletedProcess[str]:
    found = shutil.which(str(words[0]), path="/usr/bin:/bin:/usr/sbin:/sbin")
    assert found is not None, f"{words[0]} is not installed; run: make system-test"
    return subprocess.run([found, *map(str, words[1:])], capture_output=True, text=True, timeout=60)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()}


CSI = {"kind": "gstreamer", "pipeline": "nvarguscamerasrc ! nvvidconv ! video/x-raw,format=BGRx ! appsink"}


@pytest.mark.parametrize("source", [{"kind": "synthetic"}, CSI])
def test_the_unit_satisfies_systemd_and_its_exposure_is_low(
    root: Path, station: Callable[..., Path], source: dict[str, object]
) -> None:
    station(evidence={"folder": "/data/evidence"}, source=source)
    done = install(root)
    assert done.returncode == 0, done.stderr
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for name in ("sysinit", "basic", "shutdown", "network-online", "time-sync", "multi-user"):
        (units / f"{name}.target").write_text("[Unit]\n")
    verified = tool("systemd-analyze", "verify", "--man=no", f"--root={root}", "jetspect.service")
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = tool("systemd-analyze", "security", "--offline=true", "--no-pager", root / UNIT)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert exposure is not None, judged.stderr
    assert float(exposure[1]) <= LIMIT


def test_a_csi_camera_is_found_again_when_its_daemon_starts_anew(root: Path, station: Callable[..., Path]) -> None:
    """The daemon makes another socket in /tmp then; one that was bound by itself would stay the old one."""
    station(source=CSI)
    (root / "tmp").mkdir()
    assert install(root).returncode == 0
    lines = (root / UNIT).read_text().splitlines()
    assert {"PrivateTmp=no", "ReadWritePaths=/tmp"} <= set(lines)
    assert not [line for line in lines if line.startswith("Bind")]
    done = jetspect("device", "uninstall", "--root", root, "--json")
    assert "/tmp" not in json.loads(done.stdout)["kept"]
    station()
    assert install(root).returncode == 0
    assert "PrivateTmp=yes" in (root / UNIT).read_text()


def test_verify_would_see_a_fault(root: Path, station: Callable[..., Path]) -> None:
    """The check above can fail: a key that systemd does not know is reported."""
    station()
    assert install(root).returncode == 0
    unit = root / UNIT
    unit.write_text(unit.read_text().replace("ProtectClock=yes", "ProtectClocks=yes"))
    assert "ProtectClocks" in tool("systemd-analyze", "verify", "--man=no", unit).stderr


def test_user_and_folders_are_what_systemd_makes_of_the_files(root: Path, station: Callable[..., Path]) -> None:
    station(evidence={"folder": "/data/evidence"})
    assert install(root, "--user", "island").returncode == 0
    made = tool("systemd-sysusers", f"--root={root}")
    assert made.returncode == 0, made.stderr
    (user,) = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("island:")]
    assert (user[5], user[6]) == ("/var/lib/jetspect", "/usr/sbin/nologin")
    groups = {line.split(":")[0]: line.split(":")[3] for line in (root / "etc/group").read_text().splitlines()}
    assert all("island" in groups[name] for name in ("video", "render", "plugdev"))
    made = tool("systemd-tmpfiles", "--create", f"--root={root}")
    assert made.returncode == 0, made.stderr
    assert (root / "data/evidence").is_dir()
    assert "ReadWritePaths=/data/evidence\n" in (root / UNIT).read_text()
    assert "User=island\n" in (root / UNIT).read_text()


def test_an_uninstall_leaves_what_was_there_before_and_the_results(root: Path, station: Callable[..., Path]) -> None:
    station(evidence={"folder": "/data/evidence"})
    before = files(root)
    assert install(root).returncode == 0
    assert files(root) - before == {
        UNIT,
        "etc/systemd/system/multi-user.target.wants/jetspect.service",
        "etc/sysusers.d/jetspect.conf",
        "etc/tmpfiles.d/jetspect.conf",
    }
    for name in (
        "var/lib/jetspect/outbox.sqlite",
        "var/lib/jetspect/.cache/jetspect/engines/e.plan",
        "data/evidence/1.jpg",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    done = jetspect("device", "uninstall", "--root", root, "--json")
    assert json.loads(done.stdout)["kept"] == ["/var/lib/jetspect", "/data/evidence"]
    assert files(root) - before == {"var/lib/jetspect/outbox.sqlite", "data/evidence/1.jpg"}
    assert jetspect("device", "uninstall", "--root", root).returncode == 2
    assert install(root).returncode == 0
    assert jetspect("device", "uninstall", "--root", root, "--purge").returncode == 0
    assert files(root) - before == {"data/evidence/1.jpg"}  # a folder that others may use as well


def test_an_install_says_what_it_changes(root: Path, station: Callable[..., Path]) -> None:
    def changed(*words: object) -> set[str]:
        return {path.lstrip("/") for path in json.loads(install(root, "--json", *words).stdout)["changed"]}

    station(evidence={"folder": "/data/evidence"})
    before = files(root)
    wanted = changed("--dry-run")
    assert changed() == wanted == files(root) - before
    assert changed() == set()
    (root / "etc/systemd/system/multi-user.target.wants/jetspect.service").unlink()
    assert changed() == {"etc/systemd/system/multi-user.target.wants/jetspect.service"}
    station(drain_s=5)  # without the folder, the file that makes it goes
    assert changed() == {UNIT, "etc/tmpfiles.d/jetspect.conf"}
    assert changed() == set()


def test_installing_again_replaces_and_a_dry_run_writes_nothing(root: Path, station: Callable[..., Path]) -> None:
    station(evidence={"folder": "/data/evidence"})
    before = files(root)
    assert "==> /etc/systemd/system/jetspect.service <==" in install(root, "--dry-run").stdout
    assert files(root) == before
    assert install(root).returncode == 0
    station(drain_s=5)
    assert install(root).returncode == 0
    assert "TimeoutStopSec=65\n" in (root / UNIT).read_text()
    assert not (root / "etc/tmpfiles.d/jetspect.conf").exists()


@pytest.mark.parametrize(
    ("sections", "words", "says"),
    [
        ({"outbox": {"path": "outbox.sqlite"}}, (), 'write outbox.path = "/var/lib/jetspect/outbox.sqlite"'),
        ({"evidence": {"folder": "/"}}, (), "which the service cannot have for itself"),
        ({"evidence": {"folder": "/home/eve/pictures"}}, (), "lies below /home"),
        ({"bundle": {"path": "/home/eve/pits"}}, (), "bundle.path /home/eve/pits lies below /home"),
        ({"evidence": {"folder": "/data/my pictures"}}, (), "cannot stand in a unit"),
        ({}, ("--user", "root"), "must not be root"),
        ({}, ("--user", "a;b"), "the user is 1 to 31"),
        ({}, ("--name", "jetspect-../x"), "the service's name is jetspect or jetspect-NAME"),
        ({}, ("--name", "apt"), "the service's name is jetspect or jetspect-NAME"),  # a purge deletes /var/lib/NAME
        ({}, ("--python", "python3"), "take an absolute path"),
        ({}, ("--python", "/home/eve/venv/bin/python"), "lies below /home"),
    ],
)
def test_what_the_service_could_not_use_is_named(
    root: Path, station: Callable[..., Path], sections: dict[str, object], words: tuple[str, ...], says: str
) -> None:
    station(**sections)
    before = files(root)
    done = install(root, *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert files(root) == before


def test_what_is_not_ours_is_left_alone(root: Path, station: Callable[..., Path]) -> None:
    station()
    unit = root / UNIT
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    for words in (("install", STATION, "--python", "/opt/p"), ("uninstall", "--purge")):
        done = jetspect("device", *words, "--root", root)
        assert (done.returncode, "was not written by jetspect" in done.stderr) == (2, True)
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_a_link_in_the_root_cannot_lead_out_of_it(root: Path, station: Callable[..., Path], tmp_path: Path) -> None:
    station()
    host = tmp_path / "host"
    host.mkdir()
    (root / "etc/systemd").symlink_to(host)
    done = install(root)
    assert (done.returncode, "leads out of" in done.stderr) == (2, True)
    assert files(host) == set()


def test_a_python_in_a_home_is_refused_before_the_service_cannot_start(
    root: Path, station: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    station()
    monkeypatch.setattr(sys, "executable", "/home/eve/venv/bin/python")
    done = jetspect("device", "install", root / STATION.relative_to("/"), "--dry-run")
    assert (done.returncode, "Python /home/eve/venv/bin/python lies below /home" in done.stderr) == (2, True)


def test_another_root_has_another_python(root: Path, station: Callable[..., Path]) -> None:
    station()
    done = jetspect("device", "install", STATION, "--root", root)
    assert (done.returncode, "name it with --python" in done.stderr) == (2, True)


def test_files_that_the_user_may_not_read_are_named(
    root: Path, station: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The service would fail again and again until its start limit; install says it at once."""
    key, folder, file = root / "etc/jetspect/station.key", root / "opt/jetspect/bin", root / STATION.relative_to("/")
    key.write_text("k")
    key.chmod(0o644)
    station(broker={"host": "b"})
    names = {"ca": "ca.pem", "cert": "station.pem", "key": "station.key"}
    lines = [f'{name} = "{key.with_name(other)}"' for name, other in names.items()]
    file.write_text("\n".join([file.read_text(), "[broker.tls]", *lines]))
    assert install(root).returncode == 0
    assert "may not" not in caplog.text
    key.chmod(0o600)
    folder.chmod(0o700)
    assert install(root).returncode == 0
    assert "jetspect may not read /etc/jetspect/station.key (" in caplog.text
    assert "mode 0600); run: sudo chown jetspect /etc/jetspect/station.key" in caplog.text
    assert "jetspect may not enter /opt/jetspect/bin (" in caplog.text


def test_on_this_machine_the_rights_of_the_user_itself_count(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("")
    file.chmod(0o600)
    for user in ("nobody", "nobody-of-this-name"):
        assert refused(file, user, Path("/")).startswith(f"{user} may not ")  # read it, or enter the folder of the test
    mine = pwd.getpwuid(os.geteuid()).pw_name
    assert refused(file, mine, Path("/")) == ""
    file.chmod(0o060)
    assert "mode 0060); run: sudo chown" in refused(file, mine, Path("/")), (
        "root's rights over all files are no service's"
    )
    assert refused(tmp_path / "none", mine, Path("/")) == ""


@pytest.mark.parametrize(
    ("sections", "warned"),
    [
        ({"source": CSI}, True),
        ({"source": CSI, "metrics": {"idle_s": 60}}, False),
        ({"source": {**CSI, "timeout_s": 0}}, False),
        ({}, False),
    ],
)
def test_a_camera_that_runs_free_should_be_missed_when_it_is_silent(
    root: Path,
    station: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    sections: dict[str, object],
    warned: bool,
) -> None:
    station(**sections)
    assert install(root).returncode == 0
    assert ("[metrics] idle_s" in caplog.text) == warned


def test_an_uninstall_forgets_that_the_service_failed(
    root: Path, station: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A script stands in for systemctl, which needs a system that it runs; it does not know the unit, as after a reboot."""
    station()
    assert install(root).returncode == 0
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/ran\ntest "$1" != reset-failed\n')
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr("jetspect.runtime.service.install.is_live", lambda root: True)
    uninstall("jetspect", root)
    ran = (tmp_path / "ran").read_text().splitlines()
    assert ran == ["disable --now jetspect.service", "reset-failed jetspect.service", "daemon-reload"]
