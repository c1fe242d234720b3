from __future__ import annotations

import dataclasses
import os
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetspect.errors import PublishError
from jetspect.runtime.frames import utc_now
from jetspect.runtime.publishing.evidence import EvidenceSettings, EvidenceStore
from jetspect.runtime.publishing.overlay import draw_overlay
from jetspect.runtime.results import Defect, Inspection, ModelIdentity, Timings, Verdict


def inspection(verdict: Verdict = Verdict.NOK, name: str = "frame/1", count: int = 2) -> Inspection:
    defects = tuple(
        Defect(
            "pit",
            9,
            (50 * n, 20, 50 * n + 30, 60),
            (50.0 * n, 40.0),
            0.9,
            0.5,
            ((50 * n, 20), (50 * n + 29, 59)),
            False,
        )
        for n in range(count)
    )
    model = ModelIdentity("m", "1", "0" * 64, "fp32", "e")
    now = utc_now()
    return Inspection(name, now, now, verdict, (), defects, (300, 200), model, Timings(total_ms=5))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(60, 180, (200, 300, 3), dtype=np.uint8)


def test_overlay_and_crops_are_kept_for_the_verdicts_asked_for(tmp_path: Path, image: np.ndarray) -> None:
    store = EvidenceStore(EvidenceSettings(folder=tmp_path, max_crops=1, margin_px=5))
    assert store.store(image, inspection(Verdict.OK)) == ()
    overlay, crop = store.store(image, inspection())
    assert (overlay.kind, crop.kind, crop.box_xyxy) == ("overlay", "crop", (0, 20, 30, 60))
    picture = cv2.imread(str(tmp_path / crop.uri))
    assert picture is not None
    assert picture.shape == (50, 35, 3)
    assert not list(tmp_path.glob("*.tmp"))


def test_the_folder_never_grows_beyond_its_cap_also_after_a_restart(tmp_path: Path, image: np.ndarray) -> None:
    settings = EvidenceSettings(folder=tmp_path, max_mb=0.2)
    names = []
    for round_ in range(2):
        store = EvidenceStore(settings)
        for number in range(6):
            names.append(store.store(image, inspection(name=f"f{round_}-{number}", count=0))[0].uri)
            assert sum(f.stat().st_size for f in tmp_path.iterdir()) <= 0.2 * 1024 * 1024
    left = {f.name for f in tmp_path.iterdir()}
    assert left == set(names[-len(left) :])


def test_after_a_clock_jump_the_oldest_still_go_first(tmp_path: Path, image: np.ndarray) -> None:
    """Times of files and in names go back by a day with each picture; one is from before there was a count."""
    settings = EvidenceSettings(folder=tmp_path, max_mb=0.2)
    first = tmp_path / "20260101T000000000000-x.jpg"
    first.write_bytes(b"x" * 1000)
    names = [first.name]
    for number in range(12):
        then = utc_now() - timedelta(days=number)
        item = dataclasses.replace(inspection(name="f", count=0), inspected_at=then)
        names.append(EvidenceStore(settings).store(image, item)[0].uri)
        os.utime(tmp_path / names[-1], (then.timestamp(), then.timestamp()))
    left = {f.name for f in tmp_path.iterdir()}
    assert 1 < len(left) < len(names)
    assert left == set(names[-len(left) :])


def test_frame_ids_that_are_no_file_names_stay_apart(tmp_path: Path, image: np.ndarray) -> None:
    store = EvidenceStore(EvidenceSettings(folder=tmp_path))
    names = {store.store(image, inspection(name=name, count=0))[0].uri for name in ("a/b", "a b", "../../a", "ä")}
    assert len(names) == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with pytest.raises(PublishError, match="cannot be written"):
        EvidenceStore(EvidenceSettings(folder=tmp_path / "x"))


@pytest.mark.parametrize("shape", [(200, 300), (200, 300, 3), (16, 16), (3000, 40)])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_an_overlay_is_drawn_for_any_frame(shape: tuple[int, ...], verdict: Verdict) -> None:
    picture = draw_overlay(np.full(shape, 90, np.uint8), inspection(verdict), max_px=256)
    assert picture.ndim == 3
    assert picture.shape[1] <= 256
    assert (picture != 90).any()
