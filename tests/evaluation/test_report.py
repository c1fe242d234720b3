"""The report: one file that holds every number and picture, and plain data beside it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from jetspect.errors import InputError
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.evaluate import Evaluation, evaluate
from jetspect.evaluation.report import (
    TEXTS,
    Subject,
    accuracy_warning,
    notes,
    refuse_to_overwrite,
    summarise,
    write_report,
)
from jetspect.evaluation.worst import SAID, TRUE, draw_pair, draw_worst
from jetspect.runtime.results import Prediction

U8 = npt.NDArray[np.uint8]
SUBJECT = Subject("model 1.0.0", "an engine", "spots", "val")


class Spots:
    """Grey images whose value is the score; in every second one is a bright true spot, in every third a false one."""

    name, classes = "spots", ("spot",)

    def __init__(self, count: int = 20) -> None:
        self.ids = [f"spot <{n}>" for n in range(count)]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        image, mask = rng.integers(0, 90, (120, 160)).astype(np.uint8), np.zeros((120, 160), np.uint8)
        if index % 2:
            y, x, side = (int(v) for v in rng.integers((10, 10, 3), (80, 80, 30)))
            mask[y : y + side, x : x + side] = 1
            image[y + 2 : y + side + 2, x : x + side] = 200
        if index % 3 == 0:
            image[100:108, 140:150] = 180
        return Sample(self.ids[index], image, mask, f"part {index // 4}")


def predict(image: U8) -> Prediction:
    return Prediction((image >= 128).astype(np.uint8), image[None])


@pytest.fixture(scope="module")
def spots() -> Evaluation:
    return evaluate(Spots(), predict, ("spot",))


def test_the_page_holds_the_numbers_and_twelve_pictures_and_needs_nothing_else(
    spots: Evaluation, tmp_path: Path, read_page: Callable[[str], Any]
) -> None:
    summary = summarise(spots, SUBJECT, model_classes=spots.classes, resamples=50)
    page = write_report(tmp_path / "out", spots, summary, draw_worst(spots.worst(), Spots(), predict))
    text = page.read_text()
    parsed = read_page(text)
    assert len(parsed.images) == 12 and all(link.startswith("data:") for link in parsed.links)
    for source in parsed.images:
        jpeg = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and picture.shape[1] == 760
    assert text.count("<svg") == 4
    for name in ("iou", "iou_mean", "object_recall", "pixel_ap", "image_ap", "image_auroc", "boundary_iou", "mean_iu"):
        assert f"{summary[name]:.3f}" in parsed.words, name
    low, high = summary["ci95"]["iou"]
    assert f"{low:.3f} to {high:.3f}" in parsed.words
    assert re.search(r"spot &lt;\d+&gt;", text) and "spot <1>" not in text


def test_the_data_beside_it_is_the_summary(spots: Evaluation, tmp_path: Path) -> None:
    summary = summarise(spots, SUBJECT, model_classes=spots.classes, resamples=20)
    write_report(tmp_path, spots, summary, [])
    assert json.loads((tmp_path / "evaluation.json").read_text()) == json.loads(json.dumps(summary))
    assert set(TEXTS) | {"n", "n_defective", "n_objects", "image_fp", "image_fn"} <= set(summary)
    assert summary["model"] == "model 1.0.0" and len(summary["worst"]) == 12


def test_the_worst_come_first_and_what_is_right_never(spots: Evaluation) -> None:
    worst = spots.worst(100)
    assert [i.counts.iou for i in worst] == sorted(i.counts.iou for i in worst)
    assert all(i.counts.fp + i.counts.fn for i in worst)
    # Images 0, 6, 12, 18 are clean with a false spot, 2, 4, 8 ... clean and quiet.
    assert {i.sample_id for i in worst[:4]} == {f"spot <{n}>" for n in (0, 6, 12, 18)}
    assert "spot <2>" not in {i.sample_id for i in worst}


def test_a_report_is_not_replaced_unless_asked(spots: Evaluation, tmp_path: Path) -> None:
    summary = summarise(spots, SUBJECT, model_classes=spots.classes, resamples=2)
    write_report(tmp_path, spots, summary, [])
    with pytest.raises(InputError, match="holds a report already; choose another --out or replace it with --force"):
        write_report(tmp_path, spots, summary, [])
    write_report(tmp_path, spots, summary, [], force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; --out is a folder"):
        write_report(tmp_path / "file", spots, summary, [])


def test_clean_images_alone_still_make_a_page(tmp_path: Path) -> None:
    class Clean(Spots):
        def __getitem__(self, index: int) -> Sample:
            return Sample(str(index), np.zeros((30, 30), np.uint8), np.zeros((30, 30), np.uint8), str(index))

    evaluation = evaluate(Clean(3), predict, ("spot",))
    text = write_report(
        tmp_path, evaluation, summarise(evaluation, SUBJECT, model_classes=evaluation.classes, resamples=5), []
    ).read_text()
    assert "<svg" not in text and "No image has a wrong pixel." in text


def test_accuracy_comes_with_a_warning_where_defects_are_rare(spots: Evaluation) -> None:
    said = accuracy_warning(spots)
    assert said is not None and "a model that finds nothing has an accuracy of 0.9" in said
    half = np.repeat(np.array([[0, 1]], np.uint8), 4, axis=0)

    class Half(Spots):
        def __getitem__(self, index: int) -> Sample:
            return Sample("half", half, half, "half")

    assert accuracy_warning(evaluate(Half(1), predict, ("spot",))) is None


def test_a_picture_shows_both_outlines_around_the_defects() -> None:
    image = np.full((3000, 4000), 90, np.uint8)
    truth, said = np.zeros_like(image), np.zeros_like(image)
    truth[1000:1040, 2000:2040], said[1020:1060, 2020:2060] = 1, 1
    picture = draw_pair(image, truth, said)
    assert picture.shape[1] == 760 and picture.shape[0] < 760
    for colour in (TRUE, SAID):
        assert np.count_nonzero(np.abs(picture.astype(int) - colour).max(axis=2) < 30) > 100
    # A defect of one pixel in a frame of 12 megapixels must not vanish from a picture of the whole frame.
    truth[:], said[:] = 0, 0
    truth[5, 5] = said[2990, 3990] = 1
    small = draw_pair(image, truth, said)
    assert np.count_nonzero(np.abs(small[:20, :20].astype(int) - TRUE).max(axis=2) < 60) > 0


def test_what_the_numbers_cannot_say_is_said(spots: Evaluation) -> None:
    assert any("the model knows pit, the data set" in note for note in notes(spots, ("pit",)))
    assert not any("the model knows" in note for note in notes(spots, spots.classes))
    clean = replace(spots, images=tuple(i for i in spots.images if not i.defective)[:1])
    assert any("no image has a labelled defect" in note for note in notes(clean, spots.classes))
    assert any("come from 1 part: too few" in note for note in notes(clean, spots.classes))
    worn = replace(spots, images=tuple(i for i in spots.images if i.defective))
    assert any("no image is clean" in note for note in notes(worn, spots.classes))


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/report cannot be made: Not a directory; choose another --out"):
        refuse_to_overwrite(tmp_path / "file" / "report", force=False)


@pytest.mark.parametrize("shape", [(40, 20000), (20000, 40)])
def test_a_picture_of_a_line_camera_s_strip_stays_a_picture(shape: tuple[int, int]) -> None:
    truth = np.zeros(shape, np.uint8)
    truth[::39, ::39] = 1
    picture = draw_pair(np.full(shape, 90, np.uint8), truth, truth)
    assert min(picture.shape[:2]) >= 1 and max(picture.shape[:2]) <= 1520
