"""What a fleet file must not say, and what it names must not be: refused in one sentence, before anything is written."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fleets import PITS, FleetFolder, make_wheelhouse

from jetspect.provisioning.target import Target

TWO = 'address = "192.168.10.22"'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FleetFolder:
    return FleetFolder(tmp_path_factory.mktemp("fleet") / "f")


@pytest.fixture
def fleet(made: FleetFolder, tmp_path: Path) -> FleetFolder:
    """A good fleet of this test's own."""
    copy = FleetFolder.__new__(FleetFolder)
    copy.folder, copy.out = tmp_path / "f", tmp_path / "f" / "out"
    shutil.copytree(made.folder, copy.folder)
    copy.file, copy.template = copy.folder / "fleet.toml", copy.folder / "station.toml"
    return copy


def test_a_good_fleet_is_checked_without_a_file_being_written(fleet: FleetFolder) -> None:
    done = fleet.provision("--check")
    assert (done.returncode, done.stdout) == (0, "2 units can be provisioned; nothing was written\n")
    assert not fleet.out.exists()
    fleet.edit((TWO, 'address = "192.168.11.22"'))
    done = fleet.provision("--check")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (TWO, 'address = "192.168.10.21"', "192.168.10.21 stands there 2 times: island-1, island-2"),
        (TWO, 'address = "192.168.11.22"', "192.168.11.22 of island-2 is not in 192.168.10.0/24"),
        (TWO, 'address = "192.168.10.1"', "is the gateway's"),
        (TWO, 'address = "192.168.10.255"', "is the broadcast address"),
        (TWO, 'address = "192.168.10.0"', "is the network address"),
        (TWO, 'address = "192.168.10.3"', "of a time server"),
        (TWO, 'address = "192.168.10.300"', "units.1.address"),
        ('name = "island-2"', 'name = "island-1"', "units.name island-1 stands there 2 times"),
        ('name = "island-2"', 'name = "Island_2"', "it becomes the host name"),
        ('name = "island-2"', 'name = "a/+"', "it becomes the host name"),
        ('name = "island-2"', f'name = "{"a" * 64}"', "1 to 63"),
        ('gateway = "192.168.10.1"', 'gateway = "10.0.0.1"', "gateway 10.0.0.1 is not in 192.168.10.0/24"),
        ('"192.168.10.0/24"', '"192.168.10.9/24"', "network.network"),
        ('interface = "eth0"', 'interface = "e\\nth0"', "name of an interface"),
        ('ntp = ["192.168.10.3"]', 'ntp = ["a b"]', "host name or an address"),
        ("port = 8883", "port = 0", "broker.port"),
        ('python = "3.11"', 'python = "3.11"\njetpack = 6', "says architecture and python already"),
        ('python = "3.11"', "", "give jetpack = 6 or 7"),
        ('python = "3.11"', 'python = "3.9"', "target.python"),
        ("unsigned = true", "", "give public_key"),
        ("[ca]", "[ca]\ndays = 30", "renew_before_days (60) must be less than days (30)"),
        ("[ca]", "[ca]\ndays = 3651", "ca.days"),
        ("[ca]", "[ca]\ndayz = 3", "unknown key"),
        ('values = { line = "line-2" }\n\n', 'values = { line = \'a"b\' }\n\n', "without quotes"),
        ('values = { line = "line-2" }\n\n', 'values = { unit = "x", line = "a" }\n\n', "values.unit"),
        ('values = { line = "line-2" }\n\n', "\n", "${line} has no value"),
        ('values = { line = "line-2" }\n\n', 'values = { line = "a/b" }\n\n', "station.line"),
        ('values = { line = "line-2" }\n\n', f'values = {{ line = "{"l" * 60}" }}\n\n', "a certificate's name 64"),
        ('wheelhouse = "wheels"', 'wheelhouse = "nowhere"', "is no wheelhouse"),
        ('station = "station.toml"', 'station = "nowhere.toml"', "cannot be read"),
        ('cert = "ca/ca.crt"', 'cert = "ca/nowhere.crt"', "cannot be read"),
        ('cert = "ca/ca.crt"', 'cert = "ca/ca.key"', "is no certificate in PEM"),
        ('cert = "ca/ca.crt"', 'cert = "ca/broker.crt"', "is not that of a CA"),
        ('key = "ca/ca.key"', 'key = "ca/broker.key"', "is not the key of"),
        ('key = "ca/ca.key"', 'key = "ca/ca.crt"', "is no key in PEM"),
        ("[[units]]", '[[files]]\npath = "/etc/passwd"\nsource = "station.toml"\n[[units]]', "below /etc/jetspect"),
        ("[[units]]", '[[files]]\npath = "/etc/jetspect/ca.crt"\nsource = "station.toml"\n[[units]]', "of jetspect's own"),
        ("[[units]]", '[[files]]\npath = "/etc/jetspect/ca.crt/x"\nsource = "ca"\n[[units]]', "lies below another file"),
        ("[[units]]", '[[files]]\npath = "/etc/jetspect/x"\nsource = "nowhere"\n[[units]]', "nowhere cannot be read"),
        ("[[units]]", '[[files]]\npath = "/etc/jetspect/../x"\nsource = "ca"\n[[units]]', "below /etc/jetspect"),
    ],
)  # fmt: skip
def test_a_fault_of_the_file_is_named(fleet: FleetFolder, old: str, new: str, said: str) -> None:
    text = fleet.file.read_text()
    assert old in text
    fleet.file.write_text(text.replace(old, new, 1))
    assert said in fleet.refusal()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('slots = "${slots}"', 'path = "/etc/jetspect/bundle"', "bundle.path is /etc/jetspect/bundle, which is not in the"),
        ('slots = "${slots}"', 'slots = "/var/lib/other"', 'slots = "${slots}"'),
        ('ca = "${ca}"', 'ca = "/etc/ssl/plant.crt"', "broker.tls.ca is /etc/ssl/plant.crt, which is not in the overlay"),
        ('cert = "${cert}"\nkey = "${key}"\n', "", "the unit's own certificate"),
        ('host = "${broker_host}"', 'host = "elsewhere"', "is elsewhere:8883, and that of the fleet 127.0.0.1:8883"),
        ('unit = "${unit}"', 'unit = "one"', "would both publish as jetspect/plant-1/press-shop/line-2/one"),
        ('unit = "${unit}"', 'unit = "${unit}}"', "is not valid TOML"),
        ('unit = "${unit}"', 'unit = "$ {unit}"', "a dollar $$"),
        ('kind = "onnxruntime"', 'kind = "abacus"', "engine.kind"),
        ('kind = "onnxruntime"', 'kind = "openvino"', "has no openvino"),
        ('kind = "onnxruntime"', 'kind = "tensorrt"', "units without JetPack have no TensorRT"),
        ('path = "${state}/outbox.sqlite"', 'path = "/home/me/outbox.sqlite"', "lies below /home"),
        ('port = ${broker_port}', 'port = ${broker_port}\nusername = "u"\npassword_env = "P"', "password_file"),
        ('slots = "${slots}"', 'slots = "${slots}"\nprecision = "int8"', "has no int8 graph"),
    ],
)  # fmt: skip
def test_a_station_that_the_overlay_cannot_serve_is_refused(fleet: FleetFolder, old: str, new: str, said: str) -> None:
    fleet.edit((old, new), template=True)
    if said == "is not valid TOML":
        fleet.edit(('unit = "${unit}}"', 'unit = "${unit}'), template=True)
    assert said in fleet.refusal()


@pytest.mark.parametrize(
    ("jetpack", "python", "precision", "tensorrt", "kind", "said"),
    [
        (6, "3.10", "int8", "8.6", "tensorrt", "use precision int8-trt8"),
        (7, "3.12", "int8-cpu", "", "onnxruntime", "made for x86 processors, and the units are aarch64"),
        (6, "3.10", "int8-cpu", "", "tensorrt", "made for x86 processors, and the units are aarch64"),
        (6, "3.10", "int8", "", "tensorrt", "has no pycuda"),
    ],
)
def test_a_bundle_for_other_devices_is_refused(
    fleet: FleetFolder, jetpack: int, python: str, precision: str, tensorrt: str, kind: str, said: str
) -> None:
    """The last one: the bundle fits JetPack 6, and then it is the wheel that nobody built."""
    shutil.rmtree(fleet.folder / "wheels")
    make_wheelhouse(fleet.folder / "wheels", Target("aarch64", "3.12" if python == "3.12" else "3.10"))
    target = f"jetpack = {jetpack}" + (f'\ntensorrt = "{tensorrt}"' if tensorrt else "")
    bundle = next(line for line in fleet.file.read_text().splitlines() if line.startswith("path ="))
    fleet.edit(('architecture = "x86_64"\npython = "3.11"', target), (bundle, f'path = "{PITS}"'))
    fleet.edit(
        ('kind = "onnxruntime"', f'kind = "{kind}"'),
        ('slots = "${slots}"', f'slots = "${{slots}}"\nprecision = "{precision}"'),
        template=True,
    )
    assert said in fleet.refusal()


def test_wheels_for_another_device_are_refused(fleet: FleetFolder) -> None:
    fleet.edit(('python = "3.11"', 'python = "3.12"'))
    assert "for Python 3.11 on x86_64, and Python 3.12 on x86_64 is wanted" in fleet.refusal()


def test_a_wheel_that_changed_is_refused(fleet: FleetFolder) -> None:
    next((fleet.folder / "wheels").glob("pip-*.whl")).write_bytes(b"PK")
    assert "is not there as it was written" in fleet.refusal()


def test_a_bundle_that_changed_or_is_not_signed_is_refused(fleet: FleetFolder) -> None:
    copied = shutil.copytree(PITS, fleet.folder / "bundle")
    bundle = next(line for line in fleet.file.read_text().splitlines() if line.startswith("path ="))
    fleet.edit((bundle, f'path = "{copied}"'), ("unsigned = true", 'public_key = "ca/ca.crt"'))
    fleet.edit(('slots = "${slots}"', 'slots = "${slots}"\npublic_key = "${public_key}"'), template=True)
    assert "sign" in fleet.refusal()
    fleet.edit(('public_key = "ca/ca.crt"', "unsigned = true"))
    assert "bundle.public_key is /etc/jetspect/bundle.pub, which is not in the overlay" in fleet.refusal()
    (copied / "model.fp32.onnx").write_bytes(b"")
    assert "model.fp32.onnx" in fleet.refusal()


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [
        (-10, -1, "expired at"),
        (1, 400, "is not good before"),
        (-1, 100, "would outlive the CA"),
    ],
)
def test_a_ca_that_is_not_good_for_the_certificates_is_refused(
    fleet: FleetFolder, begins: int, ends: int, said: str
) -> None:
    _own_ca(fleet.folder / "ca", begins, ends)
    assert said in fleet.refusal()


def test_an_encrypted_ca_key_wants_its_password(fleet: FleetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    _own_ca(fleet.folder / "ca", -1, 3000, password="secret")
    assert "is encrypted; set ca.key_password_env" in fleet.refusal()
    fleet.edit(("[ca]", '[ca]\nkey_password_env = "FLEET_CA_PASSWORD"'))
    assert "FLEET_CA_PASSWORD (ca.key_password_env) is not set" in fleet.refusal()
    monkeypatch.setenv("FLEET_CA_PASSWORD", "wrong")
    assert "the password is wrong" in fleet.refusal()
    monkeypatch.setenv("FLEET_CA_PASSWORD", "secret")
    assert len(fleet.make()) == 2


def _own_ca(folder: Path, begins: int, ends: int, password: str = "") -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plant CA")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + timedelta(days=begins))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password.encode())
    (folder / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
