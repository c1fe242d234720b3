from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.evaluation.metrics import confusion
from jetspect.training.scorer import Scored
from jetspect.training.validation import best_decision_level, judge, threshold_curves


def test_curves_are_the_iou_at_every_threshold() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 3, (20, 30)).astype(np.uint8) for _ in range(3)]
    masks[2][masks[2] == 2] = 0  # one image without the second class: not in that class's mean
    scores = {id(m): rng.integers(0, 256, (2, 20, 30)).astype(np.uint8) for m in masks}
    curves = threshold_curves([(m, m) for m in masks], lambda image: scores[id(image)], 2)
    for k, level in ((0, 1), (0, 128), (1, 200), (1, 255)):
        counts = [confusion(scores[id(m)][k] >= level, m == k + 1) for m in masks]
        with_class = [c.iou for c in counts if c.tp + c.fn]
        assert curves[k].iou[level - 1] == pytest.approx((counts[0] + counts[1] + counts[2]).iou)
        assert curves[k].iou_mean[level - 1] == pytest.approx(np.mean(with_class))
    best = curves[0].best_level
    assert (curves[0].iou + curves[0].iou_mean)[best - 1] == (curves[0].iou + curves[0].iou_mean).max()


def scored(image: npt.NDArray[np.uint8]) -> Scored:
    return Scored(image[None], int(image.max()))


def test_a_model_that_decides_is_judged_by_its_decisions() -> None:
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 60, (8, 8)).astype(np.uint8) for _ in range(6)]
    masks = [np.zeros((8, 8), np.uint8) for _ in range(6)]
    for n in range(3):
        images[n][2:4, 2:4], masks[n][2:4, 2:4] = 200, 1
    found = judge(list(zip(images, masks, strict=True)), scored, 1)
    assert found.image_ap == 1.0 and found.iou == found.iou_mean == 1.0
    assert found.decision_level is not None and 60 < found.decision_level <= 200
    assert found.quality(decides=True) == pytest.approx(1.002)
    assert found.quality(decides=False) == 2  # while another part of the network learns
    masks[3][0, 0] = 1  # a defect that the decision misses
    worse = judge(list(zip(images, masks, strict=True)), scored, 1)
    assert (
        worse.image_ap is not None
        and worse.image_ap < 1.0
        and worse.quality(decides=True) < found.quality(decides=True)
    )


def test_without_images_of_both_kinds_there_is_no_decision_to_judge() -> None:
    mask = np.ones((4, 4), np.uint8)
    found = judge([(mask * 200, mask)], scored, 1)
    assert (
        found.image_ap is None
        and found.decision_level is None
        and found.quality(decides=True) == found.iou + found.iou_mean
    )


def test_the_decision_level_is_the_middle_of_the_best_run() -> None:
    levels = np.array([10, 20, 100, 201])
    assert best_decision_level(levels, np.array([False, False, True, True])) == 61
    assert best_decision_level(levels, np.array([False, False, False, True])) == 151
