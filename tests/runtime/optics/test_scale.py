from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jetspect.errors import ConfigError, InputError
from jetspect.runtime.config import StationConfig
from jetspect.runtime.optics.scale import FlatScale, Scale, ViewScale, size_mm
from jetspect.runtime.optics.settings import OpticsSettings
from jetspect.runtime.optics.solve import Solution
from jetspect.runtime.optics.view import View, load_view
from jetspect.runtime.settings import parse_settings

# A camera that looks at the part from the side: pixels at the right are 2.5 times as large as at the left.
TILTED = ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (-2e-4, 0.0, 1.0))


def view_of(size_wh: tuple[int, int] = (1000, 700), **changes: Any) -> View:
    plain: dict[str, Any] = {
        "created": "2026-05-04T06:30:00Z",
        "size_wh": size_wh,
        "plane": TILTED,
        "board": {"kind": "charuco", "squares": (9, 6), "square_mm": 5},
        "fit": {"reprojection_px": 0.1, "plane_rms_mm": 0, "plane_max_mm": 0, "images": ("a",), "plane_image": "a"},
    }
    return View.model_validate({**plain, **changes})


@pytest.fixture(scope="module")
def tilted() -> ViewScale:
    return ViewScale(view_of())


def test_areas_are_those_of_the_mapped_outline(solution: Solution) -> None:
    """A square of the image, mapped edge by edge with the exact lens, has the area that its pixels have together."""
    scale = ViewScale(solution.view)
    for left, top, edge in ((0, 0, 40), (700, 500, 100), (0, 0, 600), (211, 97, 257)):
        t = np.linspace(0, edge, 400)[:-1]
        sides = [(t, 0 * t), (edge + 0 * t, t), (edge - t, edge + 0 * t), (0 * t, edge - t)]
        outline = np.concatenate([np.stack(s, axis=1) for s in sides]) + np.array([left - 0.5, top - 0.5])
        x, y = solution.view.to_mm(outline)[0].T
        true = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
        assert scale.area_mm2(np.ones((edge, edge), np.uint8), left, top) == pytest.approx(true, rel=2e-5)


@settings(max_examples=30)
@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(1, 60), st.integers(1, 60)), elements=st.integers(0, 1), fill=st.just(0)
    ),
    st.integers(0, 700),
    st.integers(0, 400),
)
def test_the_largest_pixel_never_measures_less_than_the_sum(bitmap: np.ndarray, left: int, top: int) -> None:
    """What a search keeps by counting largest pixels holds everything that the exact measure would keep."""
    view = view_of()
    scale = ViewScale(view)
    area = scale.area_mm2(bitmap, left, top)
    assert area <= np.count_nonzero(bitmap) * scale.largest_pixel_mm2 * (1 + 1e-12)
    y, x = np.nonzero(bitmap)
    exact = view.to_mm(np.stack([x + left, y + top], axis=1).astype(float))[1].sum()
    assert area == pytest.approx(exact, rel=1e-4)


def test_the_largest_pixel_is_at_the_edge_that_is_far(tilted: ViewScale) -> None:
    smallest = tilted.area_mm2(np.ones((1, 1), np.uint8), 0, 300)
    assert smallest == pytest.approx(0.01, rel=1e-3)
    # Local area of x / (1 - a x) is 1 / (1 - a x)^3 of that at 0.
    assert tilted.largest_pixel_mm2 == pytest.approx(0.01 / (1 - 2e-4 * 999.5) ** 3, rel=1e-3)


@pytest.mark.parametrize("scale", [FlatScale(0.1), ViewScale(view_of(plane=((0.1, 0, 0), (0, 0.1, 0), (0, 0, 1.0))))])
@pytest.mark.parametrize("degrees", [0, 30, 45, 80])
def test_length_and_width_are_those_of_a_turned_rectangle(scale: Scale, degrees: float) -> None:
    canvas = np.zeros((400, 400), np.uint8)
    corners = cv2.boxPoints(((200.0, 200.0), (240.0, 30.0), degrees))
    cv2.fillPoly(canvas, [np.round(corners).astype(np.int32)], 1)
    x, y, w, h = cv2.boundingRect(canvas)
    size = size_mm(scale, canvas[y : y + h, x : x + w], x, y)
    assert (size.length_mm, size.width_mm) == pytest.approx((24.1, 3.1), abs=0.2)


def test_one_pixel_has_the_size_of_a_pixel_and_a_ring_has_its_area_without_the_hole() -> None:
    flat = FlatScale(0.2)
    one = size_mm(flat, np.ones((1, 1), np.uint8), 7, 9)
    assert (one.length_mm, one.width_mm) == pytest.approx((0.2, 0.2))
    ring = np.ones((5, 5), np.uint8)
    ring[1:4, 1:4] = 0
    assert flat.area_mm2(ring, 0, 0) == pytest.approx(16 * 0.04)
    assert ViewScale(view_of()).area_mm2(ring, 100, 100) == pytest.approx(16 * 0.01 / 0.98**3, rel=0.01)


def test_a_frame_of_a_few_pixels_can_be_measured() -> None:
    scale = ViewScale(view_of((3, 1)))
    assert scale.points_mm(np.array([[0.0, 0.0], [2.0, 0.0]])) == pytest.approx(np.array([[0, 0], [0.2, 0]]), abs=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"plane": ((0.1, 0, 0), (0, 0.1, 0), (-2e-3, 0, 1.0))},  # the horizon is in the frame
        {"plane": ((0.1, 0, 0), (0, -0.1, 0), (0, 0, 1.0))},  # mirrored
        {"camera_matrix": ((500, 0, 500), (0, 500, 350), (0, 0, 1)), "distortion": (-0.9, 0, 0, 0, 0)},  # folds
    ],
)
def test_a_view_that_does_not_hold_over_its_frame_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"does not hold over its whole frame of 1000 x 700 px.*calibrate again"):
        ViewScale(view_of(**changes))


def test_a_view_comes_back_from_its_file_as_it_was(tmp_path: Path, solution: Solution) -> None:
    solution.view.save(tmp_path / "view.json")
    assert load_view(tmp_path / "view.json") == solution.view
    assert [p.name for p in tmp_path.iterdir()] == ["view.json"]
    with pytest.raises(InputError, match="cannot be written: No such file"):
        solution.view.save(tmp_path / "no" / "view.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: No such file.*jetspect camera calibrate"),
        ("", "is not a view, which is JSON"),
        ("[1]", "is not a view: an object is needed"),
        ('{"version": 2}', "is a view of version 2; this jetspect reads up to 1: update it"),
        ('{"version": 1, "size_wh": [0, 5]}', "size_wh.0: .*greater than or equal to 1"),
        ({"plane": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}, "plane: is a matrix without an inverse"),
        ({"plane": [[1, 0, 0], [0, 1, 0], [0, 0, float("nan")]]}, "finite number"),
        ({"distortion": [0.1] * 5}, "distortion needs a camera_matrix"),
        (
            {"camera_matrix": [[9, 0, 1], [0, 9, 1], [0, 0, 1]], "distortion": [0.1]},
            "1 coefficients; none, 5 or 8 are known",
        ),
        ({"camera_matrix": [[9, 1, 1], [0, 9, 1], [0, 0, 1]]}, r"must be \[\[fx, 0, cx\]"),
        ({"lens": 1}, "lens: unknown key"),
    ],
)
def test_a_damaged_view_is_refused_with_its_fault(tmp_path: Path, text: str | dict[str, Any] | None, says: str) -> None:
    path = tmp_path / "view.json"
    if isinstance(text, dict):
        text = json.dumps({**json.loads(view_of().model_dump_json()), **text})
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_view(path)


def test_the_station_file_names_a_pitch_or_a_view_beside_it(tmp_path: Path) -> None:
    view_of().save(tmp_path / "view.json")
    data = {
        "station": {"site": "s", "area": "a", "line": "l", "unit": "u"},
        "bundle": {"path": "b"},
        "source": {"kind": "synthetic"},
        "optics": {"view": "view.json"},
    }
    scale = parse_settings(data, StationConfig, where="s", base=tmp_path).inspectors[""].open_scale()
    assert scale is not None
    assert scale.size_wh == (1000, 700)
    assert OpticsSettings().open_scale() is None
    data["optics"] = {"view": "view.json", "pixel_pitch_mm": 0.1}
    with pytest.raises(ConfigError, match="pixel_pitch_mm and view both say how large a pixel is: leave one out"):
        parse_settings(data, StationConfig, where="s")
    for pitch in (float("nan"), float("inf"), 0.0):
        with pytest.raises(ConfigError, match="pixel_pitch_mm"):
            parse_settings({"pixel_pitch_mm": pitch}, OpticsSettings, where="s")
