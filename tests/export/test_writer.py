"""A bundle appears whole or not at all, and nothing but a bundle is ever replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jetspect.errors import ExportError
from jetspect.export import writer
from jetspect.export.writer import exchange, refuse_to_lose, write_bundle
from jetspect.runtime.bundle import SUMS, Bundle

SHIPPED = Path(__file__).resolve().parents[2] / "bundles" / "metal-demo"


@pytest.fixture
def files() -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in SHIPPED.iterdir() if p.name != SUMS}


def everything(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_what_is_written_opens_and_leaves_no_draft(files: dict[str, bytes], tmp_path: Path) -> None:
    write_bundle(files, tmp_path / "deep" / "b", force=False)
    assert sorted(Bundle.open(tmp_path / "deep" / "b").sizes) == sorted([*files, SUMS])
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["b"]


def test_a_bundle_is_replaced_with_force_only(files: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "b"
    write_bundle(files, out, force=False)
    changed = {**files, "MODEL_CARD.md": b"new"}
    with pytest.raises(ExportError, match="exists; choose another --out or replace it with --force"):
        write_bundle(changed, out, force=False)
    assert Bundle.open(out).file("MODEL_CARD.md") == files["MODEL_CARD.md"]
    write_bundle(changed, out, force=True)
    assert Bundle.open(out).file("MODEL_CARD.md") == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_two_folders_change_places_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "file").read_text() == "other"
    assert (tmp_path / "other" / "file").read_text() == "one"
    assert not exchange(tmp_path / "one", tmp_path / "absent")
    assert (tmp_path / "one" / "file").read_text() == "other"


def test_a_bundle_is_replaced_where_folders_cannot_change_places(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "exchange", lambda one, other: False)  # a file system without it
    write_bundle(files, tmp_path / "b", force=False)
    write_bundle({**files, "MODEL_CARD.md": b"new"}, tmp_path / "b", force=True)
    assert Bundle.open(tmp_path / "b").file("MODEL_CARD.md") == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_a_link_to_a_bundle_is_followed(files: dict[str, bytes], tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    write_bundle({**files, "MODEL_CARD.md": b"new"}, tmp_path / "link", force=True)
    assert (tmp_path / "link").is_symlink()
    assert Bundle.open(tmp_path / "real").file("MODEL_CARD.md") == b"new"


def test_force_never_removes_what_is_no_bundle(files: dict[str, bytes], tmp_path: Path) -> None:
    """A slip such as ``--out . --force`` must not cost a home folder."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("x")
    mixed = Path(shutil.copytree(SHIPPED, tmp_path / "mixed"))
    (mixed / "photos").mkdir()
    file = tmp_path / "file"
    file.write_text("x")
    before = everything(tmp_path)
    for out in (home, mixed, file):
        with pytest.raises(ExportError, match="exists and is no bundle, so it is not replaced"):
            refuse_to_lose(out, force=True)
        with pytest.raises(ExportError, match="exists and is no bundle"):
            write_bundle(files, out, force=True)
    assert everything(tmp_path) == before
    (tmp_path / "empty").mkdir()
    refuse_to_lose(tmp_path / "empty", force=True)


def test_a_bundle_that_fails_its_own_check_leaves_nothing_and_keeps_the_old(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "b"
    write_bundle(files, out, force=False)
    before = everything(tmp_path)
    broken = {**files, "model.fp16.onnx": files["model.fp32.onnx"]}
    with pytest.raises(ExportError, match=r"does not stand its own check, nothing was written: .*not the fp16 graph"):
        write_bundle(broken, out, force=True)
    assert everything(tmp_path) == before
    assert Bundle.open(out).file("model.fp16.onnx") == files["model.fp16.onnx"]


def test_a_place_that_cannot_be_written_is_named(files: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ExportError, match=r"b cannot be written: Not a directory|b cannot be written: File exists"):
        write_bundle(files, tmp_path / "file" / "b", force=False)
