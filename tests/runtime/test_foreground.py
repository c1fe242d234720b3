"""What stage one hides is hidden exactly, what it shows is inspected as if there were no stage one."""

from __future__ import annotations

from types import TracebackType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetspect.errors import EngineError, InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import EngineInfo
from jetspect.runtime.foreground import ForegroundFinder, ForegroundMask, ForegroundSettings, open_finder, shrink
from jetspect.runtime.manifest import ForegroundSpec, Manifest
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import ScoreMapper

U8 = npt.NDArray[np.uint8]


class Echo:
    """An engine whose score is the tile's first channel."""

    info = EngineInfo("echo", "1", "cpu", "fp32")
    dynamic = True

    def __init__(self, classes: int = 1) -> None:
        self._classes, self.runs, self.sizes = classes, 0, [()]

    def run(self, tiles: U8) -> U8:
        self.runs, self.sizes = self.runs + 1, [*self.sizes, tiles.shape]
        return np.ascontiguousarray(np.repeat(tiles[None, ..., 0], self._classes, axis=0).transpose(1, 0, 2, 3))

    def close(self) -> None: ...

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, k: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None: ...


def spec_of(bundle: Bundle, **changes: object) -> ForegroundSpec:
    manifest = bundle.manifest.model_dump()
    parts = {name: manifest[name] for name in ("provenance", "input", "graphs", "golden")}
    return ForegroundSpec.model_validate(
        {**parts, "scale": 4, "stride_px": 8, "threshold": 0.5, "margin_px": 0, **changes}
    )


def manifest_of(bundle: Bundle, mode: str) -> Manifest:
    tiling = {"mode": mode, "stride_px": 16, "halo_px": 16, "halo_error": 0.0, "tile_px": 96}
    return Manifest.model_validate({**bundle.manifest.model_dump(), "tiling": tiling})


def mask_of(rng: np.random.Generator, hw: tuple[int, int], scale: int, kind: str) -> ForegroundMask:
    shape = max(1, hw[0] // scale), max(1, hw[1] // scale)
    blocks = np.zeros(shape, np.uint8)
    if kind == "full":
        blocks[:] = 255
    elif kind == "noise":
        blocks = (rng.random(shape) < 0.02).astype(np.uint8) * np.uint8(255)
    elif kind == "box":
        y, x = (np.sort(rng.integers(0, n + 1, 2)) for n in shape)
        blocks[y[0] : y[1], x[0] : x[1]] = 255
    return ForegroundMask(blocks, blocks, scale, hw)


def blown_up(mask: ForegroundMask) -> U8:
    """The mask at full resolution, pixel by pixel."""
    y, x = (np.minimum(np.arange(n) // mask.scale, b - 1) for n, b in zip(mask.frame_hw, mask.grown.shape, strict=True))
    return mask.grown[y][:, x]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(16, 330),
    st.integers(16, 330),
    st.integers(1, 21),
    st.lists(st.sampled_from(["full", "noise", "box", "empty", "none"]), min_size=2, max_size=4),
    st.sampled_from(["exact", "blend"]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_a_gated_frame_is_the_full_scan_under_its_mask(
    bundle: Bundle, height: int, width: int, scale: int, kinds: list[str], mode: str, region: bool, seed: int
) -> None:
    """For frames with alternating masks: nothing of the frame before may shine through."""
    rng = np.random.default_rng(seed)
    manifest = manifest_of(bundle, mode)
    roi = (width // 5, height // 7, width - width // 8, height - height // 6) if region else None
    tiling = TilingSettings(roi_xyxy=roi)
    classes = len(manifest.output.classes)
    gated, plain = (ScoreMapper(manifest, Echo(classes), tiling) for _ in range(2))
    for kind in kinds:
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = None if kind == "none" else mask_of(rng, (height, width), scale, kind)
        got = gated.score(image, mask)
        expected = np.array(plain.score(image).score_map)
        assert got.grid.skipped + len(got.grid.tiles) == plain.score(image).grid.skipped + len(
            plain.score(image).grid.tiles
        )
        if mask is not None:
            expected &= blown_up(mask)
            assert (mask.full() == blown_up(mask)).all()
        assert (got.score_map == expected).all()
        for k, spec in enumerate(manifest.output.classes):
            cold = np.ones((height, width), bool)
            for y0, x0, y1, x1 in got.hot[k]:
                cold[y0:y1, x0:x1] = False
            assert (got.score_map[k][cold] < 255 * spec.threshold_low).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 200), st.integers(8, 200), st.integers(1, 16), st.integers(0, 40), st.integers(0, 2**31))
def test_the_part_is_grown_by_the_margin_at_least_and_little_more(
    bundle: Bundle, height: int, width: int, scale: int, margin: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.uint8)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    block = [min(v // scale, max(1, n // scale) - 1) * scale for v, n in ((y, height), (x, width))]
    image[block[0] : block[0] + scale, block[1] : block[1] + scale] = 255
    finder = ForegroundFinder(spec_of(bundle, scale=scale, margin_px=margin, stride_px=4), Echo())
    full = finder.find(image).full()
    assert full.shape == (height, width)
    ys, xs = np.nonzero(full)
    for values, start, length in ((ys, block[0], height), (xs, block[1], width)):
        assert values.min() <= max(0, start - margin)
        assert values.max() >= min(length, start + scale + margin) - 1
        assert values.min() > start - margin - scale
        assert values.max() < start + margin + 3 * scale  # the last block reaches to the frame's edge


def test_stage_one_sees_the_mean_of_every_square_padded_to_its_stride(bundle: Bundle) -> None:
    image = np.random.default_rng(3).integers(0, 256, (43, 66, 3), dtype=np.uint8)
    small = shrink(image, 4)
    means = image[:40, :64].reshape(10, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 0.5 + 1e-6
    engine = Echo()
    mask = ForegroundFinder(spec_of(bundle), engine).find(image)
    assert engine.sizes[-1] == (1, 16, 16, 3)
    assert (mask.part == np.where(small[:, :, 0] >= 128, 255, 0)).all()
    assert shrink(image[:3, :2], 4).shape == (1, 1, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_colour_frames_become_what_stage_one_takes(bundle: Bundle, channels: int) -> None:
    contract = {"channels": channels, "colour_order": "BGR" if channels == 3 else "GREY"}
    contract |= {"mean": (1.0,) * channels, "std": (1.0,) * channels}
    finder = ForegroundFinder(spec_of(bundle, input=contract), Echo())
    grey = np.full((64, 64), 200, np.uint8)
    assert finder.find(grey).part.all()
    assert finder.find(np.repeat(grey[:, :, None], 3, axis=2)).part.all()


def test_the_share_counts_the_part_without_its_margin_inside_the_region(bundle: Bundle) -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:, :40] = 255
    mask = ForegroundFinder(spec_of(bundle, margin_px=20), Echo()).find(image)
    manifest, echo = manifest_of(bundle, "exact"), Echo(len(bundle.manifest.output.classes))
    assert ScoreMapper(manifest, echo, TilingSettings()).share(mask) == 0.25
    assert ScoreMapper(manifest, echo, TilingSettings(roi_xyxy=(0, 0, 80, 80))).share(mask) == 0.5
    assert ScoreMapper(manifest, echo, TilingSettings(roi_xyxy=(80, 0, 160, 80))).share(mask) == 0


def test_a_station_may_change_limits_but_only_of_a_stage_one_that_exists(bundle: Bundle) -> None:
    finder = ForegroundFinder(spec_of(bundle), Echo(), ForegroundSettings(min_foreground=0.3, margin_px=8))
    assert finder.min_foreground == 0.3
    with pytest.raises(InputError, match="bundle metal-demo has one stage; remove the foreground settings"):
        open_finder(bundle.manifest, Echo(), ForegroundSettings(enabled=False))
    two = bundle.manifest.model_copy(update={"foreground": spec_of(bundle)})
    with pytest.raises(InputError, match="its engine only one; open it with open_engine"):
        open_finder(two, Echo(), ForegroundSettings())
    assert open_finder(two, Echo(), ForegroundSettings(enabled=False)) is None


def test_an_engine_that_answers_in_another_size_is_refused(bundle: Bundle) -> None:
    with pytest.raises(EngineError, match=r"answers \(1, 2, 16, 16\) for a shrunken frame \(1, 16, 16, 3\)"):
        ForegroundFinder(spec_of(bundle), Echo(2)).find(np.zeros((64, 64, 3), np.uint8))


def test_a_mask_of_another_frame_is_refused(bundle: Bundle) -> None:
    mapper = ScoreMapper(manifest_of(bundle, "exact"), Echo(3), TilingSettings())
    mask = ForegroundMask(np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8), 4, (36, 36))
    with pytest.raises(InputError, match=r"foreground of \(9, 9\) blocks does not fit"):
        mapper.score(np.zeros((80, 80, 3), np.uint8), mask)
