"""Reading a bundle's files: every way in which they can be wrong has its own error, before anything is parsed."""

from __future__ import annotations

import os
import shutil
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jetspect.errors import BundleError, BundleIntegrityError
from jetspect.runtime import bundle_files
from jetspect.runtime.bundle_files import MANIFEST, SUMS, check_sums, read_files

PATIENT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def open_files(path: Path) -> dict[str, bytes]:
    files = read_files(path)
    check_sums(path, files)
    return files


@pytest.fixture
def folder(metal_demo: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(metal_demo, tmp_path / "bundle"))


@pytest.fixture(scope="module")
def zipped(metal_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_zip(tmp_path_factory.mktemp("zip") / "b.zip", metal_demo).read_bytes()


def make_zip(path: Path, folder: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, prefix + file.name)
    return path


def test_a_folder_and_its_zip_hold_the_same_files(folder: Path, tmp_path: Path) -> None:
    assert open_files(folder) == open_files(make_zip(tmp_path / "b.zip", folder))


@PATIENT
@given(data=st.data())
def test_one_changed_bit_anywhere_is_found(data: st.DataObject, metal_demo: Path) -> None:
    files = read_files(metal_demo)
    name = data.draw(st.sampled_from(sorted(files)))
    position = data.draw(st.integers(0, len(files[name]) - 1))
    changed = bytearray(files[name])
    changed[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BundleIntegrityError, match=r"changed since|missing|does not belong|not '<sha256>|names"):
        check_sums(metal_demo, {**files, name: bytes(changed)})


@PATIENT
@given(data=st.data())
def test_a_damaged_zip_never_yields_anything_but_the_true_files(
    data: st.DataObject, zipped: bytes, metal_demo: Path, tmp_path: Path
) -> None:
    """Either a clear error, or the same bytes where the damage hit a date or a comment."""
    damaged = bytearray(zipped)
    for _ in range(data.draw(st.integers(1, 4))):
        # The directory at the end is where parsing goes wrong; data is covered by the first half.
        first = data.draw(st.sampled_from([0, len(damaged) - 600]))
        damaged[data.draw(st.integers(first, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "b.zip"
    path.write_bytes(bytes(damaged[: data.draw(st.sampled_from([len(damaged), len(damaged) // 2]))]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns about duplicate names that the damage made
        try:
            assert open_files(path) == read_files(metal_demo)
        except BundleError as error:
            assert "\n" not in str(error)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "golden.npz").unlink()
    with pytest.raises(BundleIntegrityError, match=r"golden\.npz is missing; copy the bundle again"):
        open_files(folder)


def test_an_extra_file_is_named(folder: Path) -> None:
    (folder / "notes.txt").write_text("x")
    with pytest.raises(BundleIntegrityError, match=r"notes\.txt does not belong to the bundle"):
        open_files(folder)


@pytest.mark.parametrize("name", [".hidden", "a b", "ünicode", "x" * 121])
def test_an_odd_file_name_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("x")
    with pytest.raises(BundleIntegrityError, match="could leave the bundle"):
        open_files(folder)


@pytest.mark.parametrize("where", ["../outside.onnx", "golden.npz", "/dev/zero"])
def test_a_link_is_refused_wherever_it_leads(folder: Path, where: str) -> None:
    (folder.parent / "outside.onnx").write_text("x")
    (folder / "model.int8.onnx").symlink_to(where)
    with pytest.raises(BundleIntegrityError, match=r"model\.int8\.onnx is a link"):
        open_files(folder)


def test_a_folder_or_a_pipe_inside_is_refused(folder: Path) -> None:
    (folder / "inner").mkdir()
    with pytest.raises(BundleIntegrityError, match="inner is not a plain file"):
        open_files(folder)
    (folder / "inner").rmdir()
    os.mkfifo(folder / "inner")
    with pytest.raises(BundleIntegrityError, match="inner is not a plain file"):
        open_files(folder)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (f"{'0' * 64}  ../../etc/passwd", r"names '\.\./\.\./etc/passwd', which is not a file of the bundle"),
        (f"{'0' * 64}  /etc/passwd", "names '/etc/passwd'"),
        (f"{'0' * 64}  inner/model.onnx", "names 'inner/model.onnx'"),
        (f"{'0' * 64}  SHA256SUMS", "names 'SHA256SUMS'"),
        (f"{'0' * 64}  manifest.json", r"names manifest\.json twice"),
        (f"{'0' * 64}  gone.bin", r"gone\.bin is missing"),
        (f"{'0' * 63}  short.bin", r"line \d+ of SHA256SUMS is not"),
        ("", r"line \d+ of SHA256SUMS is not"),
    ],
)
def test_a_wrong_line_in_the_sums_is_refused(folder: Path, line: str, says: str) -> None:
    sums = folder / SUMS
    sums.write_text(sums.read_text() + line + "\n")
    with pytest.raises(BundleIntegrityError, match=says):
        open_files(folder)


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "inner/evil", "inner/", "..", "C:\\evil"])
def test_a_zip_entry_that_leaves_the_bundle_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "b.zip", folder)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(BundleIntegrityError, match="could leave the bundle"):
        open_files(path)


def test_a_zip_of_the_folder_around_the_files_says_how_to_zip(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleIntegrityError, match="zip the files themselves, not the folder"):
        open_files(make_zip(tmp_path / "b.zip", folder, prefix="bundle/"))


@pytest.mark.parametrize("name", [MANIFEST, "MANIFEST.json"])
def test_a_name_that_is_there_twice_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    path = make_zip(tmp_path / "b.zip", folder)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(name, b"{}")
    with pytest.raises(BundleIntegrityError, match="is there twice"):
        open_files(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(folder: Path, tmp_path: Path) -> None:
    path = make_zip(tmp_path / "b.zip", folder)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.bin", bytes(64 * 1024**2))
    with pytest.raises(BundleIntegrityError, match=r"bomb\.bin grows from \d+ to 67108864 bytes"):
        open_files(path)


def test_too_many_files_or_bytes_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(70):
        (folder / f"file{number}").touch()
    with pytest.raises(BundleIntegrityError, match="more than 64 files"):
        open_files(folder)
    monkeypatch.setattr(bundle_files, "_MAX_BYTES", 1024)
    with pytest.raises(BundleIntegrityError, match="no bundle"):
        open_files(folder)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist; give a bundle folder"):
        open_files(tmp_path / "gone")
    with pytest.raises(BundleError, match="it has no SHA256SUMS"):
        open_files(tmp_path)
    (tmp_path / SUMS).touch()
    with pytest.raises(BundleError, match=r"it has no manifest\.json"):
        open_files(tmp_path)
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    with pytest.raises(BundleError, match=r"is not a readable \.zip"):
        open_files(text)
