"""Against a camera that is known exactly: OpenCV projects the truth, this package must find it again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from board_views import BOARD, ON_PART, POSES, TRUTH, Camera, Pose

from jetspect.errors import InputError
from jetspect.runtime.optics.board import Sighting
from jetspect.runtime.optics.picture import draw_solution
from jetspect.runtime.optics.quality import assess
from jetspect.runtime.optics.scale import FlatScale, ViewScale
from jetspect.runtime.optics.solve import Solution, solve


def exact(camera: Camera, pose: Pose, name: str = "a", noise: float = 0.0) -> Sighting:
    """A board as it is projected, without a picture."""
    mm = BOARD.corners_mm()
    px = camera.to_px(mm, BOARD, pose) + np.random.default_rng(0).normal(0, noise, (len(mm), 2))
    return Sighting(name, camera.size_wh, px, mm)


def disc(centre_px: tuple[int, int], area_mm2: float) -> tuple[np.ndarray, int, int]:
    """The pixels that show a disc of so many mm2 on the part: bitmap, left, top."""
    (middle,) = TRUTH.to_mm(np.array([centre_px], float), BOARD, ON_PART)
    reach = 50
    xs, ys = np.meshgrid(np.arange(-reach, reach + 1) + centre_px[0], np.arange(-reach, reach + 1) + centre_px[1])
    there = TRUTH.to_mm(np.stack([xs, ys], axis=-1).reshape(-1, 2).astype(float), BOARD, ON_PART)
    inside = np.hypot(*(there - middle).T) <= np.sqrt(area_mm2 / np.pi)
    return inside.reshape(xs.shape).astype(np.uint8), int(xs[0, 0]), int(ys[0, 0])


def test_lens_and_camera_are_found_again(solution: Solution) -> None:
    matrix = np.array(solution.view.camera_matrix)
    assert np.abs(matrix - TRUTH.matrix).max() < 1.0
    assert solution.view.distortion[:4] == pytest.approx(TRUTH.distortion[:4], abs=5e-3)
    assert solution.view.fit.reprojection_px < 0.06
    assert solution.view.fit.plane_max_mm < 0.02
    assert solution.view.fit.plane_image == "5.png"


@pytest.mark.parametrize("centre_px", [(400, 300), (60, 60), (740, 60), (60, 540), (740, 540)])
def test_a_disc_has_its_area_wherever_it_lies(solution: Solution, centre_px: tuple[int, int]) -> None:
    bitmap, left, top = disc(centre_px, 12.0)
    assert ViewScale(solution.view).area_mm2(bitmap, left, top) == pytest.approx(12.0, rel=0.01)


def test_without_the_view_the_same_disc_would_be_a_third_too_small(solution: Solution) -> None:
    flat = FlatScale(assess(solution).pitch_mm["centre"])
    corner, centre = disc((740, 540), 12.0), disc((400, 300), 12.0)
    assert flat.area_mm2(*centre) == pytest.approx(12.0, rel=0.01)
    assert 7.0 < flat.area_mm2(*corner) < 8.5
    low, high = assess(solution).area_wrong
    assert low == pytest.approx(-0.41, abs=0.03)
    assert 0 <= high < 0.1


def test_distances_on_the_part_are_those_of_the_board(solution: Solution) -> None:
    mm = BOARD.corners_mm()
    said, _ = solution.view.to_mm(TRUTH.to_px(mm, BOARD, ON_PART))
    assert np.linalg.norm(said[-1] - said[0]) == pytest.approx(np.linalg.norm(mm[-1] - mm[0]), abs=0.02)
    assert np.abs(solution.view.to_px(said) - TRUTH.to_px(mm, BOARD, ON_PART)).max() < 1e-6


def test_mm_begin_in_the_top_left_pixel_and_run_along_the_image(solution: Solution) -> None:
    width, height = solution.view.size_wh
    middle = np.array([width - 1, height - 1]) / 2
    said, _ = solution.view.to_mm(np.stack([0 * middle, middle, middle + np.array([1, 0]), middle + np.array([0, 1])]))
    assert said[0] == pytest.approx((0, 0), abs=1e-9)
    along, down = said[2] - said[1], said[3] - said[1]
    assert along[0] > 0
    assert along[1] == pytest.approx(0, abs=1e-9)
    assert down[1] > 0


def test_one_image_gives_the_plane_and_says_what_it_leaves_out() -> None:
    straight = replace(TRUTH, distortion=(0.0,) * 5)
    solved = solve([exact(straight, ON_PART)], 0, BOARD, lens="none")
    assert solved.view.camera_matrix is None
    assert solved.view.fit.plane_max_mm < 1e-6
    assert any("bending of lines by the lens stays in" in w for w in assess(solved).warnings)


def test_a_lens_that_bends_is_refused_without_a_lens_model(seen: list[Sighting]) -> None:
    with pytest.raises(
        InputError, match=r"error of 1\.\d+ px, at most 0\.5 is allowed.*--lens standard and at least 5 views"
    ):
        solve(seen[-1:], 0, BOARD, lens="none")


def test_too_few_views_and_repetitions_are_refused(seen: list[Sighting]) -> None:
    with pytest.raises(InputError, match="4 images with a board: a lens needs at least 5 different views"):
        solve(seen[:4], 0, BOARD)
    with pytest.raises(InputError, match="8 images with a board, and only 2 of them differ"):
        solve(seen[:2] * 4, 0, BOARD)


def test_views_without_a_turn_are_refused() -> None:
    flat = [exact(TRUTH, Pose((0, 0, 5 * n), (3 * n, 2 * n, 130)), str(n), noise=0.05) for n in range(6)]
    with pytest.raises(InputError, match=r"the views are too similar: .*turn the board by 15 to 40 degrees"):
        solve(flat, 0, BOARD)


def test_the_worst_image_is_named(seen: list[Sighting]) -> None:
    """One board was bent: its corners do not lie where the others say."""
    wave = 3.0 * np.sin(np.arange(len(seen[2].corners_px)))
    bent = replace(seen[2], corners_px=seen[2].corners_px + wave[:, None], name="bent.png")
    with pytest.raises(InputError, match=r"worst image is bent\.png with \d\.\d+ px: leave it out"):
        solve([*seen[:2], bent, *seen[3:]], 0, BOARD)


def test_images_of_different_sizes_are_refused(seen: list[Sighting]) -> None:
    with pytest.raises(InputError, match=r"different sizes \(640 x 480, 800 x 600 px\)"):
        solve([*seen, replace(seen[0], size_wh=(640, 480))], 0, BOARD)


def test_a_frame_that_was_not_seen_to_its_edges_is_said(solution: Solution) -> None:
    assert not [w for w in assess(solution).warnings if "in the right" in w]
    strong = Camera(size_wh=(1600, 600), distortion=(-0.45, 0.0, 0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="does not hold over its whole frame"):
        solve([exact(strong, pose) for pose in POSES], 5, BOARD)  # what is found at the left folds far to the right
    straight = replace(TRUTH, distortion=(0.0,) * 5, size_wh=(1600, 600))
    warnings = assess(solve([exact(straight, ON_PART)], 0, BOARD, lens="none")).warnings
    assert any("no corner was seen in the right 5" in w for w in warnings)


def test_a_mirror_in_the_way_changes_no_size() -> None:
    plain = exact(replace(TRUTH, distortion=(0.0,) * 5), ON_PART)
    mirrored = replace(plain, corners_px=np.array([799.0, 0.0]) + plain.corners_px * (-1, 1))
    views = [solve([s], 0, BOARD, lens="none").view for s in (plain, mirrored)]
    areas = [view.to_mm(np.array([[x, 500.0]]))[1] for view, x in zip(views, (100.0, 699.0), strict=True)]
    assert areas[0] == pytest.approx(areas[1], rel=1e-6)
    assert areas[0] > 0


def test_the_picture_marks_corners_and_errors(solution: Solution) -> None:
    picture = draw_solution(TRUTH.picture(BOARD, ON_PART), solution)
    assert picture.shape == (1200, 1600, 3)
    for x, y in (solution.plane.corners_px * 2).round().astype(int):
        around = picture[y - 6 : y + 7, x - 6 : x + 7].reshape(-1, 3).astype(int)
        assert np.abs(around - (115, 158, 0)).sum(axis=1).min() < 60


def test_a_rational_lens_is_found_where_the_standard_one_is_not_enough() -> None:
    strong = Camera(focal_px=500.0, distortion=(0.5, 0.0, 0.001, -0.002, 0.0, 1.0, 0.0, 0.0))
    near = [replace(pose, centre_mm=(*pose.centre_mm[:2], 0.45 * pose.centre_mm[2])) for pose in POSES]
    views = [exact(strong, pose) for pose in near]
    with pytest.raises(InputError, match="or try --lens rational"):
        solve(views, 5, BOARD, max_error_px=0.05)
    rational = solve(views, 5, BOARD, lens="rational", max_error_px=0.05).view
    assert len(rational.distortion) == 8
    square = np.array([[100.0, 100.0], [101.0, 100.0]])
    true = np.linalg.norm(np.diff(strong.to_mm(square, BOARD, near[5]), axis=0))
    assert np.linalg.norm(np.diff(rational.to_mm(square)[0], axis=0)) == pytest.approx(true, rel=0.01)
