from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetspect.errors import InputError
from jetspect.runtime.tiling import cut_axis, hann_weights, plan_tiles, round_up


@st.composite
def geometries(draw: st.DrawFn) -> tuple[tuple[int, int], int, int, int]:
    stride = draw(st.sampled_from([1, 2, 8, 16, 32]))
    halo = stride * draw(st.integers(0, 4))
    tile = 2 * halo + stride * draw(st.integers(1, 8))
    frame = draw(st.integers(1, 400)), draw(st.integers(1, 400))
    return frame, tile, halo, stride


@given(geometries())
def test_every_pixel_is_covered_exactly_once(geometry: tuple[tuple[int, int], int, int, int]) -> None:
    frame, tile, halo, stride = geometry
    count = np.zeros(frame, np.int32)
    for t in plan_tiles(frame, tile_px=tile, halo_px=halo, stride_px=stride).tiles:
        count[t.core] += 1
    assert (count == 1).all()


@given(geometries(), st.booleans())
def test_tiles_stay_aligned_inside_and_keep_their_halo(
    geometry: tuple[tuple[int, int], int, int, int], shrink: bool
) -> None:
    """Origins sit on the stride, tiles end with the padded frame, and a core is a halo away from every inner edge."""
    frame, tile, halo, stride = geometry
    grid = plan_tiles(frame, tile_px=tile, halo_px=halo, stride_px=stride, shrink=shrink)
    for t in grid.tiles:
        for cut, size, padded in zip((t.y, t.x), grid.tile_hw, grid.padded_hw, strict=True):
            assert cut.origin % stride == 0
            assert cut.origin + size <= max(padded, size)
            assert cut.origin == 0 or cut.core_start - cut.origin >= halo
            assert cut.origin + size >= padded or cut.origin + size - cut.core_stop >= halo


@pytest.mark.parametrize(("tile", "count"), [(512, 187), (1024, 35), (1280, 20), (2048, 6)])
def test_count_of_a_20_megapixel_frame_is_the_smallest_possible(tile: int, count: int) -> None:
    grid = plan_tiles((3648, 5472), tile_px=tile, halo_px=96, stride_px=32)
    assert len(grid.tiles) == count


def test_a_frame_smaller_than_a_tile_shrinks_it_or_pads_to_it() -> None:
    small = plan_tiles((460, 1130), tile_px=512, halo_px=64, stride_px=32)
    assert small.tile_hw == (480, 512)
    fixed = plan_tiles((460, 1130), tile_px=512, halo_px=64, stride_px=32, shrink=False)
    assert fixed.tile_hw == (512, 512)
    assert plan_tiles((1, 1), tile_px=512, halo_px=64, stride_px=32).tile_hw == (32, 32)


def test_tiles_without_anything_to_inspect_are_left_out() -> None:
    keep = np.zeros((400, 400), np.uint8)
    keep[10, 390] = 1
    grid = plan_tiles((400, 400), tile_px=128, halo_px=16, stride_px=16, keep=keep)
    assert len(grid.tiles) == 1
    assert keep[grid.tiles[0].core].any()
    everything = plan_tiles((400, 400), tile_px=128, halo_px=16, stride_px=16)
    assert grid.skipped == len(everything.tiles) - 1


@given(geometries(), st.data(), st.booleans())
def test_tiles_of_a_region_cover_it_once_are_exact_there_and_never_cost_more(
    geometry: tuple[tuple[int, int], int, int, int], data: st.DataObject, shrink: bool
) -> None:
    """Cores keep a halo from every edge of their tile that is not the frame's own, wherever the region lies."""
    frame, tile, halo, stride = geometry
    keep = np.zeros(frame, np.uint8)
    (top, bottom), (left, right) = (
        sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1)))) for n in frame
    )
    keep[top : bottom + 1, left : right + 1] = 1
    rules = {"tile_px": tile, "halo_px": halo, "stride_px": stride}
    grid, everything = plan_tiles(frame, keep=keep, shrink=shrink, **rules), plan_tiles(frame, shrink=shrink, **rules)
    count = np.zeros(frame, np.int32)
    for t in grid.tiles:
        count[t.core] += 1
        assert keep[t.core].any()
        for cut, size, padded in zip((t.y, t.x), grid.tile_hw, grid.padded_hw, strict=True):
            assert cut.origin >= 0 and cut.origin % stride == 0
            assert cut.origin + size <= max(padded, size)
            assert cut.origin == 0 or cut.core_start - cut.origin >= halo
            assert cut.origin + size >= padded or cut.origin + size - cut.core_stop >= halo
    assert (count[keep > 0] == 1).all() and (count <= 1).all()
    plain = sum(bool(keep[t.core].any()) for t in everything.tiles) * everything.tile_hw[0] * everything.tile_hw[1]
    assert len(grid.tiles) * grid.tile_hw[0] * grid.tile_hw[1] <= plain
    assert 0 <= grid.skipped < len(everything.tiles)


def test_a_region_between_the_frames_tiles_gets_tiles_of_its_own() -> None:
    """A third of a 20-megapixel frame costs a third of it, not the half that the frame's own tiles would."""
    keep = np.zeros((3648, 5472), np.uint8)
    keep[611:2609, 916:3913] = 1
    grid = plan_tiles(keep.shape, tile_px=704, halo_px=96, stride_px=16, keep=keep)
    assert (len(grid.tiles), grid.skipped) == (24, 53)


@given(st.integers(1, 500), st.integers(1, 6), st.integers(0, 3))
def test_blend_weights_sum_to_one(length: int, core: int, halo: int) -> None:
    stride = 8
    tile = stride * core + 2 * halo * stride
    cuts = cut_axis(length, tile, halo * stride, stride)
    total = np.zeros(max(round_up(length, stride), tile))
    for cut, weights in zip(cuts, hann_weights(length, cuts, tile), strict=True):
        total[cut.origin : cut.origin + tile] += weights
    assert np.allclose(total[:length], 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("frame", "tile", "halo", "stride", "says"),
    [
        ((0, 10), 64, 0, 16, "at least 1 x 1"),
        ((10, 10), 65, 0, 16, "next larger tile: 80"),
        ((10, 10), 64, 8, 16, "multiples of the model's stride 16"),
        ((10, 10), 64, 32, 16, "use more than 64"),
    ],
)
def test_sizes_that_break_a_rule_are_refused(
    frame: tuple[int, int], tile: int, halo: int, stride: int, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        plan_tiles(frame, tile_px=tile, halo_px=halo, stride_px=stride)


def test_a_keep_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="keep mask is 3 x 2 px, the frame 3 x 3"):
        plan_tiles((3, 3), tile_px=64, halo_px=0, stride_px=16, keep=np.ones((2, 3), np.uint8))
