"""The report of a calibration is written only where it may be, which is told before the work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetspect.calibration.report import default_path, refuse_to_overwrite
from jetspect.errors import InputError


def test_a_place_that_cannot_take_the_report_is_told_before_the_work(tmp_path: Path) -> None:
    bundle, other = tmp_path / "parts", tmp_path / "other.html"
    bundle.mkdir()
    other.write_text("<!doctype html>")
    for path, message in (
        (tmp_path, "is a folder; --report is the HTML file"),
        (bundle / "report.html", "is inside the bundle"),
        (other, "is there already and is no calibration report; choose another --report"),
        (other / "report.html", "other.html takes no files .Not a directory.; choose another"),
    ):
        with pytest.raises(InputError, match=message):
            refuse_to_overwrite(path, bundle)
    refuse_to_overwrite(tmp_path / "not" / "there" / "yet.html", bundle)
    assert not (tmp_path / "not").exists() and other.read_text() == "<!doctype html>"
    if os.getuid():
        locked = tmp_path / "locked"
        locked.mkdir(0o500)
        with pytest.raises(InputError, match="locked takes no files"):
            refuse_to_overwrite(locked / "report.html", bundle)


def test_the_report_lies_beside_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts" / "inner").mkdir(parents=True)
    assert default_path(Path("bundles/parts")) == Path("bundles/parts-calibration.html")
    monkeypatch.chdir(tmp_path / "parts")
    assert default_path(Path()) == tmp_path / "parts-calibration.html"
    monkeypatch.chdir(tmp_path / "parts" / "inner")
    assert default_path(Path("..")) == tmp_path / "parts-calibration.html"
