"""Counts per component stand for masks painted at any pair of thresholds and smallest area."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from jetspect.evaluation.metrics import Confusion, confusion, match_objects
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.reference import find_components, paint
from jetspect.training.outlines import _components, fit_outlines

U8 = npt.NDArray[np.uint8]


def noisy(seed: int) -> tuple[U8, npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    scores = cv2.GaussianBlur(rng.integers(0, 256, (60, 80)).astype(np.uint8), (0, 0), 2)
    scores = cv2.normalize(scores, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)  # type: ignore[call-overload]
    return scores, cv2.GaussianBlur(scores, (0, 0), 3) > 130


def painted(scores: U8, truth: npt.NDArray[np.bool_], spec: ClassSpec) -> Confusion:
    return confusion(paint(find_components(scores[None], OutputContract(classes=(spec,))), truth.shape) > 0, truth)


@pytest.mark.parametrize("seed", range(3))
def test_the_counts_are_those_of_the_runtime_s_masks(seed: int) -> None:
    scores, truth = noisy(seed)
    for low in (90, 140):
        found = _components(scores, truth, low)
        for high in (low, 180, 255):
            for area in (1, 12, 60):
                spec = ClassSpec(name="a", threshold=high / 255, threshold_low=low / 255, min_area_px=area)
                assert found.counts(high, area) == painted(scores, truth, spec)
                said = paint(find_components(scores[None], OutputContract(classes=(spec,))), truth.shape) > 0
                match = match_objects(said, truth)
                hit, all_of_them = sum(o.found for o in match.objects), len(match.objects)
                assert found.objects(high, area) == Confusion(hit, match.said - match.right, all_of_them - hit, 0)
                assert all_of_them >= 3


def test_what_was_chosen_is_no_worse_than_the_single_threshold() -> None:
    pairs = [noisy(seed) for seed in range(4)]
    best = 120 / 255
    chosen = fit_outlines([s for s, _ in pairs], [t for _, t in pairs], "a", best)
    single = ClassSpec(name="a", threshold=best, threshold_low=best)

    def quality(spec: ClassSpec) -> float:
        counts = [painted(s, t, spec) for s, t in pairs]
        return sum(counts, Confusion()).iou + float(np.mean([c.iou for c in counts]))

    assert chosen.name == "a"
    assert quality(chosen) > quality(single)


def test_a_small_defect_is_not_given_up_for_a_slightly_better_outline() -> None:
    """Dropping everything below 32 px would lose 4 px of speckle and one true defect of 20 px."""
    truth, scores = np.zeros((100, 100), np.bool_), np.zeros((100, 100), np.uint8)
    truth[10:60, 10:60], truth[80:84, 80:85] = True, True
    scores[truth] = 200
    for n in range(4):
        scores[5, 20 * n : 20 * n + 6] = 200
    chosen = fit_outlines([scores], [truth], "a", 0.5)
    assert 6 < chosen.min_area_px <= 20


def test_finding_everything_is_no_virtue_where_all_the_rest_is_said_too() -> None:
    """One of two defects scores no higher than 40 specks: it is given up rather than said with them."""
    truth, scores = np.zeros((200, 200), np.bool_), np.zeros((200, 200), np.uint8)
    truth[10:30, 10:30], truth[100:104, 100:104] = True, True
    scores[truth] = 60
    scores[10:30, 10:30] = 220
    for n in range(40):
        y, x = 120 + 8 * (n // 20), 5 + 9 * (n % 20)
        scores[y : y + 4, x : x + 4] = 60
    chosen = fit_outlines([scores], [truth], "a", 60 / 255)
    assert [c.area_px for c in find_components(scores[None], OutputContract(classes=(chosen,)))] == [400]


def test_without_anything_to_find_the_threshold_stays() -> None:
    nothing = np.zeros((20, 20), np.uint8)
    chosen = fit_outlines([nothing], [nothing > 0], "a", 0.5)
    assert chosen.threshold >= chosen.threshold_low > 0
