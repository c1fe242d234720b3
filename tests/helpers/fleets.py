"""Fleet files with all that they name, in a folder of their own; a test changes what it is about."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

import pytest
from commands import REPOSITORY, Done, jetspect

from jetspect.errors import JetspectError
from jetspect.provisioning.authority import make_authority
from jetspect.provisioning.fleet import load_fleet
from jetspect.provisioning.provision import Overlay, plan, write
from jetspect.provisioning.target import Target
from jetspect.provisioning.wheelhouse import INDEX, LOCK, WheelhouseIndex
from jetspect.runtime.frames import utc_now

DEMO = REPOSITORY / "bundles" / "metal-demo"
PITS = REPOSITORY / "bundles" / "bsd-pitting"
FLEET = """
wheelhouse = "wheels"
station = "station.toml"

[fleet]
name = "plant-1"

[target]
architecture = "x86_64"
python = "3.11"

[network]
interface = "eth0"
network = "192.168.10.0/24"
gateway = "192.168.10.1"
dns = ["192.168.10.2"]
ntp = ["192.168.10.3"]

[broker]
host = "127.0.0.1"
port = 8883

[ca]
cert = "ca/ca.crt"
key = "ca/ca.key"

[bundle]
path = "BUNDLE"
unsigned = true

[[units]]
name = "island-1"
address = "192.168.10.21"
values = { line = "line-2" }

[[units]]
name = "island-2"
address = "192.168.10.22"
values = { line = "line-2" }
"""
STATION = """
[station]
site = "plant-1"
area = "press-shop"
line = "${line}"
unit = "${unit}"
[bundle]
slots = "${slots}"
[engine]
kind = "onnxruntime"
[source]
kind = "synthetic"
rate_hz = 1
[outbox]
path = "${state}/outbox.sqlite"
[broker]
host = "${broker_host}"
port = ${broker_port}
[broker.tls]
ca = "${ca}"
cert = "${cert}"
key = "${key}"
"""


def make_wheel(folder: Path, name: str, version: str = "1.0", *requires: str, tag: str = "py3-none-any") -> Path:
    """Write a wheel with nothing in it but its metadata; extras are declared as they are used."""
    info = f"{name}-{version}.dist-info"
    extras = sorted({line.partition("extra == ")[2].strip("'\"") for line in requires if "extra == " in line})
    head = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", *(f"Provides-Extra: {e}\n" for e in extras)]
    files = {
        f"{info}/METADATA": "".join([*head, *(f"Requires-Dist: {line}\n" for line in requires)]),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    rows = [f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(inner, text)
    return path


def make_wheelhouse(folder: Path, target: Target, *names: str) -> None:
    """Write a wheelhouse as its own format asks for, of empty wheels: enough for what is checked before a device installs."""
    paths = [make_wheel(folder, name) for name in ("jetspect", "pip", *names)]
    (folder / LOCK).write_text("")
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (*paths, folder / LOCK)}
    index = WheelhouseIndex(
        jetspect="1.0", architecture=target.architecture, python=target.python, extras=(), files=files
    )
    (folder / INDEX).write_text(index.model_dump_json())


def make_ca(folder: Path) -> None:
    """Write a CA and its broker's certificate, as ``jetspect device fleet-ca --broker 127.0.0.1`` does."""
    authority, own = make_authority("plant CA", days=3650, now=utc_now())
    broker = authority.issue("127.0.0.1", days=30, now=utc_now(), hosts=["127.0.0.1"], server=True)
    folder.mkdir()
    for name, identity in (("ca", own), ("broker", broker)):
        (folder / f"{name}.crt").write_bytes(identity.certificate)
        (folder / f"{name}.key").write_bytes(identity.key)


class FleetFolder:
    """A fleet of two units with CA, wheels and bundle, all of it good; ``edit`` replaces text in its files."""

    def __init__(self, folder: Path, target: Target = Target("x86_64", "3.11")) -> None:  # noqa: B008
        self.folder, self.out = folder, folder / "out"
        folder.mkdir(exist_ok=True)
        self.file, self.template = folder / "fleet.toml", folder / "station.toml"
        self.file.write_text(FLEET.replace("BUNDLE", str(DEMO)))
        self.template.write_text(STATION)
        make_wheelhouse(folder / "wheels", target)
        make_ca(folder / "ca")

    def edit(self, *changes: tuple[str, str], template: bool = False) -> None:
        path = self.template if template else self.file
        text = path.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)

    def provision(self, *words: object) -> Done:
        return jetspect("device", "provision", self.file, "--out", self.out, *words)

    def make(self, *, renew: bool = False) -> list[Overlay]:
        """As ``provision``, without the time that the command line takes."""
        return list(write(plan(load_fleet(self.file), self.out, utc_now(), renew=renew), self.out))

    def refusal(self) -> str:
        """Why the fleet is refused; nothing may have been written."""
        with pytest.raises(JetspectError) as refused:
            self.make()
        assert not self.out.exists()
        return str(refused.value)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
