"""PartsNet's measures against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from jetspect.errors import InputError
from jetspect.evaluation.metrics import class_matrix, mean_accuracy, mean_iu, pixel_accuracy


@pytest.mark.parametrize("seed", range(4))
def test_they_are_scikit_learn_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, (30, 40), p=[0.7, 0.15, 0.1, 0.05]).astype(np.uint8)
    said = np.where(rng.random((30, 40)) < 0.7, truth, rng.integers(0, 4, (30, 40))).astype(np.uint8)
    matrix, t, s = class_matrix(said, truth, 3), truth.ravel(), said.ravel()
    assert (matrix == sklearn_metrics.confusion_matrix(t, s)).all()
    assert pixel_accuracy(matrix) == pytest.approx(sklearn_metrics.accuracy_score(t, s))
    assert mean_accuracy(matrix) == pytest.approx(sklearn_metrics.balanced_accuracy_score(t, s))
    assert mean_iu(matrix) == pytest.approx(sklearn_metrics.jaccard_score(t, s, average="macro"))


def test_classes_that_do_not_occur_are_left_out() -> None:
    truth, said = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 2, 1, 0]], np.uint8)
    matrix = class_matrix(said, truth, 2)
    assert (pixel_accuracy(matrix), mean_accuracy(matrix)) == (0.5, 0.5)
    assert mean_iu(matrix) == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert all(math.isnan(f(np.zeros((3, 3)))) for f in (pixel_accuracy, mean_accuracy, mean_iu))


def test_a_value_beyond_the_classes_and_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match="masks hold the value 3; there are 2 classes"):
        class_matrix(np.array([[3]], np.uint8), np.array([[0]], np.uint8), 2)
    with pytest.raises(InputError, match=r"prediction is \(1, 1\), ground truth \(1, 2\)"):
        class_matrix(np.zeros((1, 1), np.uint8), np.zeros((1, 2), np.uint8), 2)
