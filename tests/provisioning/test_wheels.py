"""Which wheels a device needs is decided by its own Python and architecture, not by those of the machine that collects them."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import jetspect
from fleets import make_wheel, make_wheelhouse

from jetspect.errors import InputError, ProvisionError
from jetspect.provisioning.target import Target, as_target
from jetspect.provisioning.wheelhouse import Wheelhouse, build_wheelhouse
from jetspect.provisioning.wheels import close, read_wheel

ORIN, THOR = Target("aarch64", "3.10"), Target("aarch64", "3.12")
DEBIAN = Target("x86_64", "3.11")


def test_markers_count_for_the_target(tmp_path: Path) -> None:
    lines = ('tomli>=2; python_version < "3.11"', 'nx; platform_machine == "aarch64"', "base", 'keys; extra == "sign"')
    wheels = [make_wheel(tmp_path, "jetspect", "1.0", *lines), make_wheel(tmp_path, "base", "1.0", "tomli<3")]
    wheels += [make_wheel(tmp_path, name, "2.1") for name in ("tomli", "nx", "keys", "other")]

    def names(target: Target, *roots: str) -> list[str]:
        closure = close(roots, [read_wheel(path, target) for path in wheels], target)
        assert not closure.missing
        return [wheel.name for wheel in closure.wheels]

    assert names(ORIN, "jetspect") == ["base", "jetspect", "nx", "tomli"]
    assert names(DEBIAN, "jetspect[sign]") == ["base", "jetspect", "keys", "tomli"]
    assert names(DEBIAN) == []
    without = [read_wheel(path, ORIN) for path in wheels if "tomli" not in path.name]
    assert set(close(["jetspect"], without, ORIN).missing) == {"tomli>=2", "tomli<3"}


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        ("py3-none-any", {ORIN, THOR, DEBIAN}),
        ("cp310-cp310-linux_aarch64", {ORIN}),
        ("cp38-abi3-manylinux_2_28_aarch64", {ORIN, THOR}),
        ("cp312-cp312-manylinux_2_39_aarch64", {THOR}),
        ("cp310-cp310-manylinux_2_39_aarch64", set()),
        ("cp311-cp311-manylinux1_x86_64", {DEBIAN}),
        ("cp311-cp311-musllinux_1_2_x86_64", set()),
    ],
)
def test_a_wheel_is_taken_where_it_can_be_installed(tmp_path: Path, tag: str, fits: set[Target]) -> None:
    path = make_wheel(tmp_path, "part", "1.0", tag=tag)
    for target in (ORIN, THOR, DEBIAN):
        if target in fits:
            assert read_wheel(path, target).name == "part"
        else:
            with pytest.raises(ProvisionError, match="cannot be installed by"):
                read_wheel(path, target)


def test_there_is_no_such_device() -> None:
    with pytest.raises(InputError, match=r"no target has Python 3\.9 on aarch64"):
        as_target("aarch64", "3.9")


def test_a_wheelhouse_is_collected_offline_and_replaced_only_by_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip itself, told to ask nobody: what it wants must come from the wheels that are given."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "given"))
    given = tmp_path / "given"
    own = make_wheel(given, "jetspect", "1.0", "part", 'late; python_version < "3.11"')
    make_wheel(given, "part", "1.0")
    make_wheel(given, "part", "2.0")
    make_wheel(given, "pip", "30")
    pycuda = make_wheel(given, "pycuda", "1.0", tag="cp310-cp310-linux_aarch64")
    limits = tmp_path / "limits.txt"
    limits.write_text('# versions\npart==1.0; python_version < "3.11"\npart==2.0; python_version >= "3.11"\n')
    house = tmp_path / "house"
    words = ("device", "wheelhouse", "--out", "house", "--wheel", own, "--constraint", limits, "--add", pycuda)
    limits_of = limits.read_text()
    limits.write_text("part==9\n")
    refused = jetspect(*words, cwd=tmp_path)
    assert (
        refused.returncode == 2
        and "exclude each other: jetspect 1.0 depends on part; The user requested (constraint) part==9"
        in refused.stderr
    )
    assert not house.exists()
    limits.write_text(limits_of)
    make_wheel(given, "late", "1.0")  # only a 3.10 asks for it
    done = jetspect(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "jetspect 1.0 for Python 3.10 on aarch64, 5 wheels" in done.stdout
    lock = (house / "requirements.lock").read_text()
    assert [line.split()[0] for line in lock.splitlines()] == [
        "jetspect==1.0",
        "late==1.0",
        "part==1.0",
        "pip==30",
        "pycuda==1.0",
    ]
    refused = jetspect(*words, "--python", "3.12", cwd=tmp_path)
    assert refused.returncode == 2 and "pycuda-1.0-cp310-cp310-linux_aarch64.whl cannot be installed" in refused.stderr
    assert (house / "requirements.lock").read_text() == lock
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_what_is_no_wheelhouse_is_refused(tmp_path: Path) -> None:
    make_wheelhouse(tmp_path / "house", ORIN)
    assert Wheelhouse.open(tmp_path / "house", ORIN).target == ORIN
    (tmp_path / "house" / "jetspect-1.0-py3-none-any.whl").unlink()
    with pytest.raises(ProvisionError, match="is not there as it was written"):
        Wheelhouse.open(tmp_path / "house")
    (tmp_path / "house" / "wheelhouse.json").write_text("{}")
    with pytest.raises(ProvisionError, match="make the wheelhouse anew"):
        Wheelhouse.open(tmp_path / "house")
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(ProvisionError, match="is no wheelhouse; name a new folder"):
        build_wheelhouse(other, ORIN)
    own = make_wheel(tmp_path, "stranger")
    with pytest.raises(ProvisionError, match="a wheel of stranger"):
        build_wheelhouse(tmp_path / "new", ORIN, own=own)
    with pytest.raises(ProvisionError, match="jetspect has no extra wings"):
        build_wheelhouse(tmp_path / "new", ORIN, own=make_wheel(tmp_path, "jetspect"), extras=("wings",))
    (tmp_path / "x.whl").write_text("")
    with pytest.raises(ProvisionError, match="is no wheel"):
        build_wheelhouse(tmp_path / "new", ORIN, own=tmp_path / "x.whl")
    assert not (tmp_path / "new").exists()
