"""The CUDA kernels, compiled for this processor, against the reference."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from host_cuda import HostCuda
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jetspect.benchmarks.gpu_checks import facts, put_map
from jetspect.benchmarks.shapes import SHAPES, checkerboard, comb, part
from jetspect.errors import EngineError, InputError
from jetspect.runtime.manifest import ClassSpec, OutputContract
from jetspect.runtime.postprocess.cuda import ComponentFinder
from jetspect.runtime.postprocess.reference import Component, find_components

U8 = npt.NDArray[np.uint8]
LEVELS = [0, 101, 102, 203, 204, 255]


def contract(open_px: int = 0, close_px: int = 0, connectivity: int = 8, **spec: float | int | None) -> OutputContract:
    cls = ClassSpec.model_validate({"name": "pit", "threshold": 0.8, "threshold_low": 0.4, **spec})
    return OutputContract.model_validate(
        {"classes": [cls], "open_px": open_px, "close_px": close_px, "connectivity": connectivity}
    )


def find(scores: U8, output: OutputContract, *, seed: int = 0, workers: int = 1, **options: float) -> list[Component]:
    with HostCuda(seed=seed, workers=workers) as cuda:
        finder = ComponentFinder(cuda, (scores.shape[0], scores.shape[1]), places=int(options.pop("places", 1024)))
        found, dropped = finder.find(put_map(cuda, scores), 0, output, **options)  # type: ignore[arg-type]
    assert dropped == 0
    return found


def assert_same(scores: U8, output: OutputContract, **options: float) -> list[Component]:
    expected = find_components(scores[None], output, pixel_area_mm2=options.get("pixel_area_mm2"))
    got = find(scores, output, **options)  # type: ignore[arg-type]
    assert [facts(c) for c in got] == [facts(c) for c in expected]
    return got


maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 140)), elements=st.sampled_from(LEVELS), fill=st.just(0)
) | hnp.arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 70)), elements=st.sampled_from(LEVELS))


@settings(max_examples=120)
@given(maps, st.sampled_from([4, 8]), st.integers(0, 1000))
def test_components_are_the_references_whatever_the_order_of_threads(scores: U8, connectivity: int, seed: int) -> None:
    assert_same(scores, contract(connectivity=connectivity), seed=seed)


@settings(max_examples=80)
@given(maps, st.integers(0, 15), st.integers(0, 15))
def test_opening_and_closing_are_the_references(scores: U8, open_px: int, close_px: int) -> None:
    assert_same(scores, contract(open_px, close_px, threshold=0.4))


@settings(max_examples=60)
@given(
    maps,
    st.integers(1, 30),
    st.none() | st.integers(1, 60),
    st.none() | st.floats(1, 5),
    st.none() | st.floats(0.01, 1),
)
def test_limits_are_the_references(
    scores: U8, least: int, most: int | None, aspect: float | None, least_mm2: float | None
) -> None:
    output = contract(min_area_px=least, max_area_px=most, max_aspect=aspect, min_area_mm2=least_mm2)
    assert_same(scores, output, pixel_area_mm2=0.03)


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_break_labellers(name: str, connectivity: int) -> None:
    for seed, workers in ((0, 1), (1, 1), (2, 3)):
        assert_same(SHAPES[name](), contract(connectivity=connectivity), seed=seed, workers=workers)


@pytest.mark.parametrize("seed", range(4))
def test_many_blocks_join_one_component_at_once(seed: int) -> None:
    """Each tooth hangs on the comb by one pixel, so one union lost between threads is one component too many."""
    assert len(assert_same(comb(3, 40_000, joined="below"), contract(connectivity=4), seed=seed, workers=4)) == 1


def test_a_frame_of_20_megapixels() -> None:
    """5472 x 3648 px with scratches over many words, blobs and single pixels."""
    scores = part(3648, 5472)
    assert len(assert_same(scores, contract(close_px=2, min_area_px=2))) > 40


def test_more_components_than_there_is_room_for() -> None:
    """A table that is too small grows; nothing is lost."""
    found = assert_same(checkerboard(40, 40), contract(connectivity=4), places=5)
    assert len(found) == 800


def test_more_components_than_come_with_the_counts() -> None:
    assert len(assert_same(checkerboard(40, 40), contract(connectivity=4))) == 800


def test_nested_boxes_larger_than_the_buffer_of_bitmaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames inside frames: the boxes add up to many times the picture."""
    monkeypatch.setattr("jetspect.runtime.postprocess.cuda._BITMAP_BYTES", 4096)
    scores = np.zeros((160, 160), np.uint8)
    for i in range(0, 80, 4):
        scores[i : 160 - i, i : 160 - i] = 255
        scores[i + 2 : 158 - i, i + 2 : 158 - i] = 0
    assert len(assert_same(scores, contract())) == 20


def test_the_largest_are_kept_when_too_many() -> None:
    scores = np.zeros((20, 64), np.uint8)
    for i, size in enumerate([1, 4, 2, 3, 4]):
        scores[2:3, 10 * i : 10 * i + size] = 255
    with HostCuda() as cuda:
        finder = ComponentFinder(cuda, (20, 64))
        found, dropped = finder.find(put_map(cuda, scores), 0, contract(), limit=3)
    assert ([c.area_px for c in found], dropped) == ([4, 3, 4], 2)


def test_a_finder_forgets_the_frame_before() -> None:
    with HostCuda() as cuda:
        finder = ComponentFinder(cuda, (70, 70))
        for seed in range(3):
            scores = np.random.default_rng(seed).choice(np.array(LEVELS, np.uint8), (70, 70))
            found, _ = finder.find(put_map(cuda, scores), 0, contract(1, 1))
            assert [facts(c) for c in found] == [facts(c) for c in find_components(scores[None], contract(1, 1))]


def test_memory_is_given_back() -> None:
    with HostCuda() as cuda:
        before = cuda.free_bytes()
        finder = ComponentFinder(cuda, (100, 100), places=4)
        finder.find(put_map(cuda, checkerboard(100, 100)), 0, contract(connectivity=4))
        finder.close()
        assert before - cuda.free_bytes() < 100 * 128 + 2 * 256 * 64  # the map of this test and the pinned page


def test_too_little_memory_is_said() -> None:
    with HostCuda(memory_bytes=1 << 20) as cuda, pytest.raises(EngineError, match="bytes left"):
        ComponentFinder(cuda, (3648, 5472))


def test_a_frame_that_labels_cannot_count_is_refused() -> None:
    with HostCuda() as cuda, pytest.raises(InputError, match=r"65536 x 32768 px has more than 2\^31"):
        ComponentFinder(cuda, (32768, 65536))
