from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.errors import DataSetError, InputError
from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.evaluate import evaluate
from jetspect.runtime.results import Prediction

U8 = npt.NDArray[np.uint8]


class Drawn:
    """A data set whose images are the masks to predict, so that the predictor can be the identity."""

    name = "drawn"

    def __init__(self, pairs: list[tuple[U8, U8 | None]], classes: tuple[str, ...] = ("a", "b")) -> None:
        self._pairs, self.classes = pairs, classes
        self.ids = [f"i{n}" for n in range(len(pairs))]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        image, mask = self._pairs[index]
        return Sample(self.ids[index], image, mask, self.ids[index], Path())


def line(*values: int) -> U8:
    return np.array([values], np.uint8)


CLASSES = ("a", "b")


def said(mask: U8) -> Prediction:
    """A model that is sure of its mask."""
    return Prediction(mask, np.stack([(mask == k) * np.uint8(255) for k in (1, 2)]))


def test_numbers_of_a_drawn_case_are_the_hand_counted_ones() -> None:
    data = Drawn(
        [
            (line(1, 1, 0, 0), line(1, 0, 0, 0)),  # tp 1, fp 1
            (line(0, 0, 2, 0), line(0, 0, 2, 2)),  # class b: tp 1, fn 1
            (line(1, 0, 0, 0), line(0, 0, 0, 1)),  # missed, and wrong elsewhere: fp 1, fn 1
            (line(0, 0, 0, 0), line(0, 0, 0, 0)),  # clean and quiet: in no mean IoU
            (line(0, 2, 0, 0), line(0, 0, 0, 0)),  # false alarm: fp 1
        ]
    )
    evaluation = evaluate(data, said, CLASSES)
    expected = {
        "iou": 2 / 7,  # tp 2, fp 3, fn 2
        "iou_mean": (1 / 2 + 1 / 2 + 0 + 0) / 4,
        "precision": 2 / 5,
        "recall": 2 / 4,
        "f1": 4 / 9,
        "fpr": 3 / 16,  # 5 images x 4 pixels - 4 true ones
        "fnr": 2 / 4,
        "image_recall": 2 / 3,
        "image_fpr": 1 / 2,
        "n": 5,
        "n_defective": 3,
        "n_objects": 3,
        "object_recall": 2 / 3,
        "object_precision": 2 / 4,
        "image_fp": 1,
        "image_fn": 0,  # the third image is called defective for the wrong place
        "accuracy": 15 / 20,
        "dice": 4 / 9,
    }
    found = evaluation.as_dict()
    assert {name: found[name] for name in expected} == expected
    classes = evaluation.classes_as_dict()
    assert classes["a"]["iou"] == 1 / 4 and classes["b"]["iou"] == 1 / 3


def test_the_right_place_counts_though_the_class_is_wrong_and_the_class_numbers_tell() -> None:
    evaluation = evaluate(Drawn([(line(2, 0), line(1, 0))]), said, CLASSES)
    assert evaluation.as_dict()["iou"] == 1
    assert {name: c["iou"] for name, c in evaluation.classes_as_dict().items()} == {"a": 0, "b": 0}


def test_classes_are_matched_by_name_and_unknown_ones_count_as_any_defect() -> None:
    """The model's class 1 is the data set's class 2; its class 2 is unknown there."""
    evaluation = evaluate(Drawn([(line(1, 2), line(2, 1))]), said, ("b", "other"))
    assert evaluation.classes_as_dict() == {"b": {"iou": 1.0, "precision": 1.0, "recall": 1.0}}
    assert evaluation.as_dict()["iou"] == 1


def test_false_alarms_of_a_class_that_the_data_set_lacks_count_in_every_measure() -> None:
    """Half the image is said to be something else; PartsNet's measures must not call that background."""
    data = Drawn([(line(2, 2, 0, 1), line(0, 0, 0, 1))], classes=("a",))
    measured = evaluate(data, said, CLASSES).as_dict()
    assert measured["iou"] == 1 / 3
    assert measured["pixel_accuracy"] == 2 / 4 and measured["mean_iu"] == (1 / 3 + 1 / 3) / 2


def test_each_true_class_is_looked_for_whatever_class_was_said() -> None:
    data = Drawn(
        [
            (line(2, 0, 0, 0, 0), line(1, 1, 0, 0, 2)),  # the a is said to be b, the b is missed
            (line(0, 0, 0, 2, 2), line(1, 0, 0, 2, 2)),
            (line(0, 0, 0, 0, 0), line(0, 0, 0, 0, 0)),
        ]
    )
    assert evaluate(data, said, CLASSES).kinds_as_dict() == {
        "a": {"n": 2, "object_recall": 1 / 2, "recall": 1 / 3},
        "b": {"n": 2, "object_recall": 1 / 2, "recall": 2 / 3},
    }
    absent = Drawn([(line(0, 1), line(0, 1))])
    assert evaluate(absent, said, CLASSES).kinds_as_dict()["b"] == {"n": 0, "object_recall": None, "recall": None}
    single = Drawn([(line(0, 1), line(0, 1))], classes=("a",))
    assert evaluate(single, said, CLASSES).kinds_as_dict() == {}


def test_clean_images_alone_give_null_ratios_that_json_can_hold() -> None:
    result = evaluate(Drawn([(line(0, 0), line(0, 0))]), said, CLASSES).as_dict()
    assert result["iou"] is None and result["image_recall"] is None and result["image_fpr"] == 0
    json.dumps(result, allow_nan=False)


def test_images_without_label_are_not_predicted() -> None:
    seen: list[tuple[int, int]] = []
    data = Drawn([(line(7, 7), None), (line(1, 0), line(1, 0))])
    result = evaluate(data, said, CLASSES, lambda *done_total: seen.append(done_total))
    assert (result.as_dict()["n"], result.as_dict()["iou"]) == (1, 1.0)
    assert seen == [(1, 2), (2, 2)]


def test_nothing_labelled_is_an_error() -> None:
    with pytest.raises(DataSetError, match="drawn has no labelled image"):
        evaluate(Drawn([(line(0), None)]), said, CLASSES)


def test_a_mask_or_a_prediction_of_another_size_is_refused() -> None:
    with pytest.raises(DataSetError, match=r"i0: mask \(1, 3\), image \(1, 2\)"):
        evaluate(Drawn([(line(0, 0), line(0, 0, 1))]), said, CLASSES)
    with pytest.raises(InputError, match=r"prediction is \(1, 3\)"):
        evaluate(Drawn([(line(0, 0), line(0, 1))]), lambda _: said(line(0, 0, 0)), CLASSES)
