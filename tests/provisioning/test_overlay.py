"""What lies in an overlay: whose it is, that it is the same each time, and that an old one is never half replaced."""

from __future__ import annotations

import configparser
import resource
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import jetspect
from fleets import FleetFolder, make_ca

from jetspect.errors import ProvisionError

KEY, CERT = "etc/jetspect/unit.key", "etc/jetspect/unit.crt"


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    return FleetFolder(tmp_path / "f")


def content(overlay: Path, name: str) -> bytes:
    with tarfile.open(overlay) as tar:
        stream = tar.extractfile(name)
        assert stream is not None, name
        return stream.read()


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a full disk: writing on fails."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_owners_and_modes_are_those_of_a_system(fleet: FleetFolder) -> None:
    fleet.make()
    overlay = fleet.out / "island-1.tar"
    assert overlay.stat().st_mode & 0o777 == 0o600
    with tarfile.open(overlay) as tar:
        members = {m.name: m for m in tar}
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members.values()} == {(0, 0, "", "")}
    assert list(members) == sorted(members, key=lambda name: name.split("/"))
    private = {name for name, m in members.items() if m.isreg() and m.mode != 0o644}
    assert private == {KEY, "etc/NetworkManager/system-connections/jetspect.nmconnection"}
    assert {members[name].mode for name in private} == {0o600}
    text = content(overlay, "etc/NetworkManager/system-connections/jetspect.nmconnection").decode()
    connection = configparser.ConfigParser()
    connection.read_string(text)
    assert connection["ipv4"]["address1"] == "192.168.10.21/24,192.168.10.1"
    assert connection["connection"]["interface-name"] == "eth0"
    assert content(overlay, "etc/hostname") == b"island-1\n"


def test_the_same_inputs_give_the_same_bytes_and_a_key_stands_nowhere_else(fleet: FleetFolder) -> None:
    before = {path for path in fleet.folder.rglob("*") if path.is_file()}
    assert "new, until" in fleet.provision().stdout
    first = {path: path.read_bytes() for path in fleet.out.iterdir()}
    again = fleet.provision("--json")
    assert '"certificate": "kept"' in again.stdout and "new" not in again.stdout
    assert {path: path.read_bytes() for path in fleet.out.iterdir()} == first
    key = content(fleet.out / "island-1.tar", KEY)
    assert b"PRIVATE KEY" in key
    assert key != content(fleet.out / "island-2.tar", KEY)
    holding = [p for p in fleet.folder.rglob("*") if p.is_file() and key in p.read_bytes()]
    assert holding == [fleet.out / "island-1.tar"]
    assert {path for path in fleet.folder.rglob("*") if path.is_file()} - before == set(first)


def test_a_new_key_comes_when_asked_for_or_when_the_old_one_does_not_last(fleet: FleetFolder) -> None:
    def keys() -> list[bytes]:
        return [content(fleet.out / f"island-{n}.tar", KEY) for n in (1, 2)]

    fleet.make()
    seen = [keys()]
    fleet.make(renew=True)
    seen.append(keys())
    # Another address is another name in the certificate; the other unit keeps its own.
    fleet.edit(("192.168.10.22", "192.168.10.23"))
    fleet.make()
    seen.append(keys())
    assert seen[2][0] == seen[1][0]
    # What was issued for 365 days is no longer good for 365 days.
    fleet.edit(("[ca]", "[ca]\ndays = 400\nrenew_before_days = 366"))
    fleet.make()
    seen.append(keys())
    (fleet.folder / "ca").rename(fleet.folder / "old-ca")
    make_ca(fleet.folder / "ca")
    fleet.make()
    seen.append(keys())
    assert len({key for pair in seen for key in pair}) == 9


def test_openssl_takes_what_was_issued(fleet: FleetFolder) -> None:
    fleet.make()
    certificate = fleet.folder / "unit.crt"
    certificate.write_bytes(content(fleet.out / "island-1.tar", CERT))

    def openssl(*words: object) -> str:
        return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=True).stdout

    ca = fleet.folder / "ca"
    openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", ca / "ca.crt", certificate)
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca / "ca.crt", ca / "broker.crt")
    shown = openssl("x509", "-in", certificate, "-noout", "-subject", "-nameopt", "RFC2253")
    assert "CN=plant-1/press-shop/line-2/island-1" in shown


def test_a_ca_is_never_replaced(tmp_path: Path) -> None:
    assert jetspect("device", "fleet-ca", "--out", tmp_path).returncode == 0
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "ca.key").read_bytes()
    refused = jetspect("device", "fleet-ca", "--out", tmp_path)
    assert refused.returncode == 2 and "a CA is never replaced" in refused.stderr
    assert (tmp_path / "ca.key").read_bytes() == before
    refused = jetspect("device", "fleet-ca", "--out", tmp_path / "new", "--broker", "b\u00fccher.plant")
    assert refused.returncode == 2 and "is no host name" in refused.stderr
    assert not (tmp_path / "new").exists()


def test_an_overlay_that_cannot_be_written_leaves_the_old_one(fleet: FleetFolder) -> None:
    fleet.make()
    before = {path: path.read_bytes() for path in fleet.out.iterdir()}
    with (
        no_file_above(100_000),
        pytest.raises(ProvisionError, match=r"island-1\.tar cannot be written: File too large"),
    ):
        fleet.make(renew=True)
    assert {path: path.read_bytes() for path in fleet.out.iterdir()} == before


def test_a_file_that_is_no_overlay_is_not_overwritten(fleet: FleetFolder) -> None:
    fleet.out.mkdir()
    (fleet.out / "island-2.tar").write_text("a letter")
    with pytest.raises(ProvisionError, match="is not an overlay of ours"):
        fleet.make()
    assert [path.name for path in fleet.out.iterdir()] == ["island-2.tar"]


def test_more_files_go_in_with_their_mode(fleet: FleetFolder) -> None:
    (fleet.folder / "pw").write_text("secret\n")
    files = '[[files]]\npath = "/etc/jetspect/login/password"\nsource = "pw"\nprivate = true\n\n[[units]]\nname = "island-1"'
    fleet.edit(('[[units]]\nname = "island-1"', files))
    login = 'port = ${broker_port}\nusername = "u"\npassword_file = "/etc/jetspect/login/password"'
    fleet.edit(("port = ${broker_port}", login), template=True)
    fleet.make()
    with tarfile.open(fleet.out / "island-1.tar") as tar:
        assert tar.getmember("etc/jetspect/login/password").mode == 0o600
    assert b'"/etc/jetspect/login/password"' in content(fleet.out / "island-1.tar", "opt/jetspect-provision/unit.json")
