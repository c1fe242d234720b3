from __future__ import annotations

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import EngineInfo
from jetspect.runtime.manifest import Manifest
from jetspect.runtime.postprocess.reference import APART_PX, find_components
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import ScoreMapper

U8 = npt.NDArray[np.uint8]


class Echo:
    """An engine whose score is the tile's first channel, for every class; static engines refuse other shapes."""

    info = EngineInfo("echo", "1", "cpu", "fp32")

    def __init__(self, classes: int, static: tuple[int, int, int] | None = None) -> None:
        self.dynamic = static is None
        self._classes, self._static = classes, static
        self.runs = 0

    def run(self, tiles: U8) -> U8:
        assert self._static is None or tiles.shape[:3] == self._static
        self.runs += 1
        return np.ascontiguousarray(np.repeat(tiles[None, ..., 0], self._classes, axis=0).transpose(1, 0, 2, 3))

    def close(self) -> None: ...

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, k: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None: ...


def manifest_of(bundle: Bundle, *, mode: str = "exact", halo: int = 16, channels: int = 3) -> Manifest:
    data = bundle.manifest.model_dump()
    data["tiling"] = {"mode": mode, "stride_px": 16, "halo_px": halo, "halo_error": 0.0, "tile_px": 96}
    data["input"] |= {"channels": channels, "colour_order": "BGR" if channels == 3 else "GREY"}
    data["input"] |= {"mean": (100.0,) * channels, "std": (50.0,) * channels}
    return Manifest.model_validate(data)


@settings(max_examples=60, deadline=None)
@given(st.integers(16, 300), st.integers(16, 300), st.integers(1, 5), st.booleans(), st.integers(0, 2**31))
def test_the_stitched_map_is_what_the_engine_says_at_every_pixel(
    bundle: Bundle, height: int, width: int, batch: int, static: bool, seed: int
) -> None:
    manifest = manifest_of(bundle)
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    engine = Echo(len(manifest.output.classes), (batch, 96, 96) if static else None)
    mapper = ScoreMapper(manifest, engine, TilingSettings(batch=batch))
    scores = mapper.score(image)
    assert (scores.score_map == image[None, :, :, 0]).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(16, 300), st.integers(16, 300), st.integers(0, 2**31))
def test_blending_a_score_that_does_not_depend_on_the_tile_gives_it_back(
    bundle: Bundle, height: int, width: int, seed: int
) -> None:
    manifest = manifest_of(bundle, mode="blend")
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    mapper = ScoreMapper(manifest, Echo(len(manifest.output.classes)), TilingSettings())
    difference = mapper.score(image).score_map.astype(int) - image[None, :, :, 0]
    assert np.abs(difference).max() <= 1


def test_outside_the_region_scores_are_zero_and_tiles_are_skipped(bundle: Bundle) -> None:
    manifest = manifest_of(bundle)
    image = np.full((400, 400, 3), 200, np.uint8)
    engine = Echo(len(manifest.output.classes))
    mapper = ScoreMapper(manifest, engine, TilingSettings(roi_xyxy=(10, 20, 60, 90)))
    for _ in range(2):  # the map is reused: nothing of the frame before may shine through
        scores = mapper.score(image)
        assert (scores.score_map[:, 20:90, 10:60] == 200).all()
        assert np.count_nonzero(scores.score_map[0]) == 70 * 50
    assert scores.grid.skipped > 20
    assert engine.runs == 2 * len(scores.grid.tiles)


def test_a_region_outside_the_frame_is_refused(bundle: Bundle) -> None:
    mapper = ScoreMapper(manifest_of(bundle), Echo(3), TilingSettings(roi_xyxy=(0, 0, 500, 10)))
    with pytest.raises(InputError, match="reaches outside the 400 x 300 px frame"):
        mapper.score(np.zeros((300, 400, 3), np.uint8))


def test_a_wrong_tile_size_is_refused_before_the_first_frame(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="next larger tile: 112"):
        ScoreMapper(manifest_of(bundle), Echo(3), TilingSettings(tile_px=100))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("grey", [True, False])
def test_grey_and_colour_frames_become_what_the_model_takes(bundle: Bundle, channels: int, grey: bool) -> None:
    manifest = manifest_of(bundle, channels=channels)
    image = np.random.default_rng(0).integers(0, 256, (120, 130), dtype=np.uint8)
    frame = image if grey else np.repeat(image[:, :, None], 3, axis=2)
    mapper = ScoreMapper(manifest, Echo(len(manifest.output.classes)), TilingSettings())
    assert (mapper.score(np.ascontiguousarray(frame)).score_map == image).all()


def test_the_hot_box_holds_everything_at_or_above_the_low_threshold(bundle: Bundle) -> None:
    manifest = manifest_of(bundle)
    image = np.zeros((500, 500, 3), np.uint8)
    image[200:210, 300:330] = 255
    mapper = ScoreMapper(manifest, Echo(len(manifest.output.classes)), TilingSettings())
    hot = mapper.score(image).hot
    assert all(len(boxes) == 1 for boxes in hot)
    for y0, x0, y1, x1 in (box for boxes in hot for box in boxes):
        assert (y0, x0) <= (200, 300)
        assert (y1, x1) >= (210, 330)
        assert (y1 - y0) * (x1 - x0) < 500 * 500 / 4
    assert not any(mapper.score(np.zeros_like(image)).hot)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 60), st.integers(50, 700), st.integers(50, 700))
def test_components_are_those_of_the_whole_map_and_hot_boxes_keep_apart(
    bundle: Bundle, seed: int, spots: int, height: int, width: int
) -> None:
    """The search looks into hot boxes only: nothing may lie outside them, and none may cut what belongs together."""
    manifest = manifest_of(bundle)
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    for y, x, size in zip(
        rng.integers(0, height, spots), rng.integers(0, width, spots), rng.integers(1, 40, spots), strict=True
    ):
        image[y : y + size, x : x + size] = rng.integers(0, 256)
    data = manifest.output.model_copy(update={"close_px": int(rng.integers(0, 16)), "open_px": int(rng.integers(0, 3))})
    found = ScoreMapper(manifest, Echo(len(data.classes)), TilingSettings(tile_px=256)).score(image)
    for boxes in found.hot:
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]) >= APART_PX
    quick = find_components(found.score_map, data, hot=found.hot)
    full = find_components(found.score_map, data)
    assert [(c.class_index, c.box_yxyx, c.area_px, c.sum_score) for c in quick] == [
        (c.class_index, c.box_yxyx, c.area_px, c.sum_score) for c in full
    ]


def test_spots_far_apart_in_one_tile_are_searched_one_by_one(bundle: Bundle) -> None:
    manifest = manifest_of(bundle)
    image = np.zeros((640, 640, 3), np.uint8)
    for y, x in ((10, 10), (10, 600), (600, 10), (600, 600)):
        image[y : y + 5, x : x + 5] = 255
    hot = ScoreMapper(manifest, Echo(len(manifest.output.classes)), TilingSettings(tile_px=640)).score(image).hot
    assert [len(boxes) for boxes in hot] == [4] * len(manifest.output.classes)
    assert all((y1 - y0) * (x1 - x0) <= 64 * 64 for boxes in hot for y0, x0, y1, x1 in boxes)


class Full(Echo):
    """An engine that is sure of a defect everywhere."""

    def run(self, tiles: U8) -> U8:
        return np.full((tiles.shape[0], self._classes, *tiles.shape[1:3]), 255, np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 330), st.integers(0, 330), st.integers(1, 60), st.integers(1, 60))
def test_blending_inside_a_region_takes_every_tile_that_reaches_it(
    bundle: Bundle, x: int, y: int, w: int, h: int
) -> None:
    manifest = manifest_of(bundle, mode="blend", halo=32)
    region = TilingSettings(roi_xyxy=(x, y, x + w, y + h))
    mapper = ScoreMapper(manifest, Full(len(manifest.output.classes)), region)
    assert (mapper.score(np.zeros((400, 400, 3), np.uint8)).score_map[:, y : y + h, x : x + w] >= 254).all()


def test_a_region_mask_that_selects_nothing_is_refused_at_the_start(bundle: Bundle, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((300, 300), np.uint8))
    mapper = ScoreMapper(manifest_of(bundle), Echo(3), TilingSettings(roi_mask=tmp_path / "mask.png"))
    with pytest.raises(InputError, match=r"mask\.png is black everywhere"):
        mapper.prepare((300, 300))
