"""A whole inspection through a view whose pixels differ in size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from device_engines import Echo, OnDevice
from host_cuda import HostCuda

from jetspect.errors import ImageError, InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.frames import Frame
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.optics.view import View
from jetspect.runtime.publishing.describing import describe_defects
from jetspect.runtime.results import Defect, Verdict

WIDTH, HEIGHT = 128, 64
# Pixels of 0.01 mm2 at the left and of 0.08 mm2 at the right.
TILTED = ((0.1, 0.0, 0.0), (0.0, 0.1, 0.0), (-0.5 / (WIDTH - 0.5), 0.0, 1.0))
# A few bright spots on black are a black frame else.
ANY_LIGHT = {"min_brightness": 0, "min_contrast": 0, "min_sharpness": 0}


@pytest.fixture
def view(tmp_path: Path) -> Path:
    said = {
        "created": "2026-05-04T06:30:00Z",
        "size_wh": (WIDTH, HEIGHT),
        "plane": TILTED,
        "board": {"kind": "charuco", "squares": (9, 6), "square_mm": 5},
        "fit": {"reprojection_px": 0.1, "plane_rms_mm": 0, "plane_max_mm": 0, "images": ("a",), "plane_image": "a"},
    }
    View.model_validate(said).save(tmp_path / "view.json")
    return tmp_path / "view.json"


@pytest.fixture
def spots(brightest: Any, tmp_path: Path) -> Bundle:
    """Every bright spot of at least 0.5 mm2 is a defect."""
    said = brightest.manifest(brightest.graph())
    said["output"]["classes"] = [{"name": "spot", "threshold": 0.6, "threshold_low": 0.6, "min_area_mm2": 0.5}]
    return Bundle.open(brightest.write(tmp_path / "bundle", said=said))


def inspector(bundle: Bundle, **settings: Any) -> Inspector:
    said = {"checks": ANY_LIGHT, **settings}
    return Inspector(bundle, open_engine(bundle)[0], InspectorSettings.model_validate(said))


def frame(*squares: tuple[int, int, int]) -> Frame:
    """Bright squares of an edge at x, y."""
    image = np.zeros((HEIGHT, WIDTH), np.uint8)
    for x, y, edge in squares:
        image[y : y + edge, x : x + edge] = 180
    return Frame(image, "f")


def on_part(x: int, y: int, edge: int) -> np.ndarray:
    """The corners of a square on the part; a plane keeps its edges straight."""
    corners = np.array([[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge]]) - 0.5
    mapped = np.pad(corners, ((0, 0), (0, 1)), constant_values=1.0) @ np.array(TILTED).T
    return np.asarray(mapped[:, :2] / mapped[:, 2:], np.float32)


def test_the_limit_counts_mm2_not_pixels(spots: Bundle, view: Path) -> None:
    """The same 36 pixels are 0.38 mm2 at the left and 2 mm2 at the right; 64 pixels at the left are enough too."""
    with inspector(spots, view=view) as looking:
        found = looking.inspect(frame((4, 4, 6), (110, 4, 6), (4, 30, 8))).defects
        mask = looking.segment(frame((4, 4, 6), (110, 4, 6)).image)
    assert [d.box_xyxy[:2] for d in found] == [(110, 4), (4, 30)]
    true = [cv2.contourArea(on_part(*square)) for square in ((110, 4, 6), (4, 30, 8))]
    assert [d.area_mm2 for d in found] == pytest.approx(true, rel=1e-3)
    assert (int((mask > 0).sum()), int(mask[4, 4])) == (36, 0)


def test_a_defect_has_its_place_and_size_on_the_part(spots: Bundle, view: Path) -> None:
    with inspector(spots, view=view) as looking:
        (defect,) = looking.inspect(frame((40, 20, 10))).defects
    corners = on_part(40, 20, 10)
    assert defect.centroid_mm == pytest.approx(corners.mean(axis=0), abs=0.05)
    _, edges, _ = cv2.minAreaRect(corners)
    assert (defect.width_mm, defect.length_mm) == pytest.approx(sorted(edges), rel=0.01)
    (info,) = describe_defects(looking.inspect(frame((40, 20, 10))))
    assert (info.area_mm2, info.length_mm) == (round(defect.area_mm2 or 0, 4), round(defect.length_mm or 0, 4))


def test_what_is_too_small_takes_no_place_among_those_reported(spots: Bundle, view: Path) -> None:
    """The search lets three spots through that are too small in mm2; each has more pixels than the one that counts."""
    small = [(4 + 8 * n, 4, 6) for n in range(3)]
    with inspector(spots, view=view, max_reported=1) as looking:
        inspection = looking.inspect(frame(*small, (116, 40, 5)))
    (defect,) = inspection.defects
    assert (defect.box_xyxy[:2], inspection.defects_truncated) == ((116, 40), 0)


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT + 1), (2 * WIDTH, 2 * HEIGHT)])
def test_a_frame_of_another_size_is_unknown(spots: Bundle, view: Path, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (size[1], size[0])).astype(np.uint8)
    with inspector(spots, view=view) as looking:
        inspection = looking.inspect(Frame(image, "f"))
        assert inspection.verdict is Verdict.UNKNOWN
        assert f"frame is {size[0]} x {size[1]} px, the view was calibrated at 128 x 64" in inspection.reasons[0]
        with pytest.raises(ImageError, match="the view was calibrated at 128 x 64"):
            looking.segment(image)


def test_a_view_that_cannot_fit_is_refused_at_the_start(spots: Bundle, view: Path) -> None:
    with pytest.raises(InputError, match=r"optics\.view does not fit checks\.size_wh: frame is 256 x 128 px"):
        inspector(spots, view=view, checks={"size_wh": (256, 128)})
    inspector(spots, view=view, checks={"size_wh": (WIDTH, HEIGHT)}).close()
    with pytest.raises(InputError, match=r"need the pixel pitch or a calibrated view; set optics\.pixel_pitch_mm or"):
        inspector(spots)


def test_a_plain_pitch_gives_the_same_fields(spots: Bundle) -> None:
    with inspector(spots, pixel_pitch_mm=0.2) as looking:
        (defect,) = looking.inspect(frame((40, 20, 10))).defects
    assert (defect.area_mm2, defect.length_mm, defect.width_mm) == pytest.approx((4.0, 2.0, 2.0))
    assert defect.centroid_mm == pytest.approx((8.9, 4.9))


def test_the_gpu_s_path_measures_the_same(bundle: Bundle, view: Path) -> None:
    """An engine on the device gives back its tile as scores: defects of both paths are equal, mm included."""
    output = bundle.manifest.output
    classes = tuple(c.model_copy(update={"min_area_mm2": 0.5}) for c in output.classes)
    tiling = bundle.manifest.tiling.model_copy(update={"tile_px": 96, "stride_px": 16, "halo_px": 16})
    changed = {"output": output.model_copy(update={"classes": classes}), "tiling": tiling}
    manifest = bundle.manifest.model_copy(update=changed)
    limited = Bundle(bundle.path, {n: bundle.file(n) for n in bundle.sizes}, manifest, signature="test")
    settings = InspectorSettings.model_validate({"view": view, "tiling": {"tile_px": 96}, "checks": ANY_LIGHT})
    picture = np.repeat(frame((4, 4, 6), (110, 4, 6), (4, 30, 8)).image[..., None], 3, axis=2)
    found: list[tuple[Defect, ...]] = []
    with HostCuda() as cuda:
        shape = 1, 96, 96, manifest.input.channels
        for engine in (Echo(len(classes)), OnDevice(Echo(len(classes)), cuda, shape, len(classes))):
            with Inspector(limited, engine, settings) as looking:
                found.append(looking.inspect(Frame(picture, "f")).defects)
    assert found[0] == found[1]
    assert len(found[0]) > 0
    assert all((d.area_mm2 or 0) >= 0.5 for d in found[0])
