from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import jaccard_score

from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.optics.scale import FlatScale
from jetspect.runtime.postprocess.reference import (
    APART_PX,
    Box,
    add_box,
    find_components,
    level_of,
    paint,
    to_defect,
)

U8 = npt.NDArray[np.uint8]


def contract(open_px: int = 0, close_px: int = 0, connectivity: int = 8, **spec: float | int | None) -> OutputContract:
    cls = ClassSpec.model_validate({"name": "pit", "threshold": 0.8, "threshold_low": 0.4, **spec})
    return OutputContract.model_validate(
        {"classes": [cls], "open_px": open_px, "close_px": close_px, "connectivity": connectivity}
    )


def flood(mask: npt.NDArray[np.bool_], connectivity: int) -> list[set[tuple[int, int]]]:
    """Label by flood fill, the slow and obvious way."""
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)] + ([(1, 1), (1, -1), (-1, 1), (-1, -1)] if connectivity == 8 else [])
    todo = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    found = []
    while todo:
        stack = [todo.pop()]
        blob = set(stack)
        while stack:
            y, x = stack.pop()
            for dy, dx in steps:
                p = (y + dy, x + dx)
                if p in todo:
                    todo.remove(p)
                    blob.add(p)
                    stack.append(p)
        found.append(blob)
    return sorted(found, key=min)


@settings(max_examples=150)
@given(
    hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=24),
        elements=st.sampled_from([0, 101, 102, 203, 204, 255]),
    ),
    st.sampled_from([4, 8]),
)
def test_components_and_statistics_match_a_flood_fill(scores: U8, connectivity: int) -> None:
    output = contract(connectivity=connectivity)
    expected = [b for b in flood(scores >= 102, connectivity) if max(scores[p] for p in b) >= 204]
    found = find_components(scores[None], output)
    assert len(found) == len(expected)
    for c, blob in zip(found, expected, strict=True):
        ys, xs = (np.array(v) for v in zip(*blob, strict=True))
        values = scores[ys, xs].astype(int)
        assert c.box_yxyx == (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1)
        assert (c.area_px, c.sum_x, c.sum_y) == (len(blob), xs.sum(), ys.sum())
        assert (c.sum_score, c.peak) == (values.sum(), values.max())
        assert {(int(y) + c.box_yxyx[0], int(x) + c.box_yxyx[1]) for y, x in np.argwhere(c.bitmap)} == blob


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2), st.integers(0, 2))
def test_a_box_around_the_hot_part_changes_nothing(seed: int, open_px: int, close_px: int) -> None:
    """Cropping to where scores reach the low threshold is a matter of speed only, morphology included."""
    rng = np.random.default_rng(seed)
    scores = np.zeros((1, 60, 70), np.uint8)
    y, x = rng.integers(0, 40), rng.integers(0, 50)
    scores[0, y : y + 20, x : x + 20] = rng.choice([0, 120, 250], (20, 20))
    output = contract(open_px, close_px)
    whole = paint(find_components(scores, output), (60, 70))
    boxed = paint(find_components(scores, output, hot=[[(y, x, y + 20, x + 20)]]), (60, 70))
    assert (whole == boxed).all()


def test_hysteresis_keeps_weak_pixels_only_where_they_touch_strong_ones() -> None:
    scores = np.zeros((1, 5, 20), np.uint8)
    scores[0, 2, 2:8] = 110
    scores[0, 2, 5] = 230
    scores[0, 2, 12:18] = 110
    (only,) = find_components(scores, contract())
    assert only.area_px == 6


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, [4, 12, 36]),
        ({"min_area_px": 12}, [12, 36]),
        ({"max_area_px": 12}, [4, 12]),
        ({"max_aspect": 2.0}, [4, 36]),
        ({"min_area_mm2": 0.2}, [36]),
    ],
)
def test_limits_drop_components_by_area_and_aspect(limits: dict[str, float], kept: list[int]) -> None:
    scores = np.zeros((1, 20, 40), np.uint8)
    scores[0, 1:3, 1:3] = scores[0, 5, 10:22] = scores[0, 10:16, 25:31] = 255
    found = find_components(scores, contract(**limits), pixel_area_mm2=0.01)
    assert [c.area_px for c in found] == kept


def test_opening_removes_specks_and_closing_joins_gaps() -> None:
    scores = np.zeros((1, 30, 30), np.uint8)
    scores[0, 2, 2] = 255
    scores[0, 10:16, 5:10] = scores[0, 10:16, 12:17] = 255
    assert len(find_components(scores, contract())) == 3
    assert len(find_components(scores, contract(open_px=1))) == 2
    assert len(find_components(scores, contract(open_px=1, close_px=1))) == 1


def test_classes_are_separate_and_later_ones_are_painted_on_top() -> None:
    output = OutputContract(classes=(ClassSpec(name="a"), ClassSpec(name="b")))
    scores = np.zeros((2, 6, 6), np.uint8)
    scores[0, 1:4, 1:4] = scores[1, 3:5, 3:5] = 255
    mask = paint(find_components(scores, output), (6, 6))
    assert (mask == 1).sum() == 8
    assert (mask == 2).sum() == 4


def test_a_defect_is_described_in_frame_pixels_and_mm() -> None:
    scores = np.zeros((1, 40, 50), np.uint8)
    scores[0, 0:10, 20:30] = 255
    output = contract()
    (component,) = find_components(scores, output)
    defect = to_defect(component, output, (40, 50), FlatScale(0.2))
    assert defect.box_xyxy == (20, 0, 30, 10)
    assert defect.centroid_xy == (24.5, 4.5)
    assert (defect.peak, defect.mean) == (1.0, 1.0)
    assert set(defect.polygon_xy) == {(20, 0), (29, 0), (29, 9), (20, 9)}
    assert defect.touches_border
    assert defect.area_mm2 == pytest.approx(4.0)
    assert defect.centroid_mm == pytest.approx((4.9, 0.9))
    assert (defect.length_mm, defect.width_mm) == pytest.approx((2.0, 2.0))


@given(st.floats(0, 1))
def test_a_level_is_the_lowest_score_that_reaches_the_probability(probability: float) -> None:
    level = level_of(probability)
    assert level / 255 >= probability - 1e-9
    assert level == 1 or (level - 1) / 255 < probability


def test_an_empty_score_map_has_no_defects_even_at_threshold_zero() -> None:
    output = contract(threshold=0.0, threshold_low=0.0)
    assert find_components(np.zeros((1, 9, 9), np.uint8), output) == []
    found = find_components(np.full((1, 9, 9), 255, np.uint8), output)
    assert jaccard_score(np.ones(81), paint(found, (9, 9)).ravel()) == 1.0


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3), st.sampled_from([0, 3, 15]))
def test_many_boxes_give_the_same_components_as_the_whole_map(seed: int, open_px: int, close_px: int) -> None:
    """Tiles of 100 px, hot where they hold anything: merged boxes neither split nor repeat a component."""
    rng = np.random.default_rng(seed)
    scores = np.zeros((1, 700, 800), np.uint8)
    for _ in range(int(rng.integers(0, 8))):
        y, x, size = (int(v) for v in rng.integers((0, 0, 2), (600, 700, 90)))
        scores[0, y : y + size, x : x + size] = rng.choice([0, 120, 250], (size, size))
    boxes: list[Box] = []
    for y in range(0, 700, 100):
        for x in range(0, 800, 100):
            if scores[0, y : y + 100, x : x + 100].max() >= 102:
                add_box(boxes, (y, x, y + 100, x + 100))
    output = contract(open_px, close_px)
    whole, boxed = find_components(scores, output), find_components(scores, output, hot=[boxes])
    assert [(c.box_yxyx, c.area_px, c.sum_score) for c in whole] == [
        (c.box_yxyx, c.area_px, c.sum_score) for c in boxed
    ]
    for a in boxes:
        for b in boxes:
            gaps = a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]
            assert a is b or max(gaps) >= APART_PX
