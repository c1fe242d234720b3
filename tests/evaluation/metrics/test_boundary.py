"""Boundary IoU against its definition, computed slowly with Euclid replaced by the paper's square steps."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from jetspect.errors import InputError
from jetspect.evaluation.metrics import boundary_counts, boundary_distance, boundary_iou

Mask = npt.NDArray[np.bool_]


def slow_boundary(mask: Mask, d: int) -> Mask:
    """d erosions by a 3 x 3 square, with nothing beyond the image's edge."""
    inner = mask
    for _ in range(d):
        inner = ndimage.binary_erosion(inner, np.ones((3, 3)), border_value=0)
    return mask & ~inner


def blobs(seed: int) -> Mask:
    rng = np.random.default_rng(seed)
    return np.asarray(ndimage.gaussian_filter(rng.random((60, 90)), 4) > 0.5)


@pytest.mark.parametrize("d", [1, 2, 5, 40])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_paper_s_definition(seed: int, d: int) -> None:
    a, b = blobs(seed), blobs(seed + 10)
    ours, theirs = slow_boundary(a, d), slow_boundary(b, d)
    assert boundary_counts(a, b, d) == (np.count_nonzero(ours & theirs), np.count_nonzero(ours | theirs))


def test_a_wide_enough_boundary_is_the_whole_mask() -> None:
    a, b = blobs(3), blobs(4)
    assert boundary_iou(a, b, 1000) == np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_an_outline_that_is_off_counts_more_than_in_iou() -> None:
    truth, said = np.zeros((400, 400), np.bool_), np.zeros((400, 400), np.bool_)
    truth[50:350, 50:350], said[54:354, 54:354] = True, True
    both = np.count_nonzero(truth & said) / np.count_nonzero(truth | said)
    assert both > 0.94 and boundary_iou(said, truth, 4) < 0.15


def test_the_default_distance_is_two_percent_of_the_diagonal() -> None:
    assert boundary_distance(300, 400) == 10 and boundary_distance(3, 4) == 1
    a, b = blobs(5), blobs(6)
    assert boundary_counts(a, b) == boundary_counts(a, b, 2)


def test_empty_masks_and_bad_input() -> None:
    nothing, some = np.zeros((20, 20), np.bool_), np.eye(20, dtype=np.bool_)
    assert boundary_counts(nothing, nothing) == (0, 0) and math.isnan(boundary_iou(nothing, nothing))
    assert boundary_iou(nothing, some) == 0
    with pytest.raises(InputError, match="must be at least 1 px, got 0"):
        boundary_counts(some, some, 0)
    with pytest.raises(InputError, match=r"\(20, 20\), ground truth \(10, 20\)"):
        boundary_counts(some, some[:10])
