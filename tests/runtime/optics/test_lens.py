from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.runtime.optics.lens import distort, undistort

small = st.floats(-0.05, 0.05)


def opencv(points: np.ndarray, lens: tuple[float, ...]) -> np.ndarray:
    there = np.pad(points, ((0, 0), (0, 1)), constant_values=1.0)
    return np.asarray(cv2.projectPoints(there, *np.zeros((2, 3)), np.eye(3), np.array(lens))[0])[:, 0]


@settings(max_examples=60)
@given(
    st.floats(-0.3, 0.3), small, st.floats(-0.002, 0.002), st.floats(-0.002, 0.002), small, st.integers(0, 2**32 - 1)
)
def test_it_bends_as_opencv_does_and_straightens_what_it_bent(
    k1: float, k2: float, p1: float, p2: float, k3: float, seed: int
) -> None:
    points = np.random.default_rng(seed).uniform(-0.5, 0.5, (50, 2))
    lens = (k1, k2, p1, p2, k3)
    bent, _ = distort(points, lens)
    theirs = opencv(points, lens)
    assert np.abs(bent - theirs).max() < 1e-12
    assert np.abs(undistort(bent, lens)[0] - points).max() < 1e-9


def test_the_rational_model_is_opencv_s() -> None:
    points = np.random.default_rng(0).uniform(-0.6, 0.6, (50, 2))
    lens = (0.3, -0.1, 0.001, -0.002, 0.02, 0.5, -0.05, 0.01)
    theirs = opencv(points, lens)
    assert np.abs(distort(points, lens)[0] - theirs).max() < 1e-12


@pytest.mark.parametrize("lens", [(-0.3, 0.1, 0.001, -0.002, 0.02), (0.3, -0.1, 0.001, -0.002, 0.02, 0.5, -0.05, 0.01)])
def test_the_area_is_that_of_a_small_square(lens: tuple[float, ...]) -> None:
    """Against the area of quadrangles that were mapped corner by corner."""
    middle = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2))
    edge = 1e-4
    (a, _), (b, _), (c, _), (d, _) = (
        undistort(middle + edge / 2 * np.array(s), lens) for s in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    )
    across, other = c - a, d - b
    areas = np.abs(across[:, 0] * other[:, 1] - across[:, 1] * other[:, 0]) / 2 / edge**2
    assert undistort(middle, lens)[1] == pytest.approx(areas, rel=1e-5)


def test_what_no_lens_can_have_sent_there_is_not_a_number() -> None:
    """With k1 = -0.5 the picture ends at a radius of 0.544: nothing comes from further out."""
    points, areas = undistort(np.array([[0.5, 0.0], [0.7, 0.0]]), (-0.5, 0.0, 0.0, 0.0, 0.0))
    assert np.isfinite(points[0]).all()
    assert areas[0] > 1
    assert np.isnan(points[1]).all()
    assert np.isnan(areas[1])
