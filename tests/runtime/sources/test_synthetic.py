from __future__ import annotations

import threading
import time

import cv2
import numpy as np
import pytest

from jetspect.errors import InputError
from jetspect.runtime.frames import Frame
from jetspect.runtime.sources.synthetic import (
    CLASSES,
    TEXTURES,
    SyntheticPart,
    SyntheticSettings,
    SyntheticSource,
    render_part,
)
from jetspect.runtime.sources.synthetic.defects import DRAW, VISIBLE, changed


@pytest.fixture(scope="module")
def parts() -> list[SyntheticPart]:
    return [render_part(seed, (640, 480), defects=5) for seed in range(12)]


def test_the_same_seed_renders_the_same_part_bit_for_bit() -> None:
    a, b, other = (render_part(seed, (301, 207)) for seed in (5, 5, 6))
    assert (a.image == b.image).all()
    assert (a.mask == b.mask).all()
    assert (a.image != other.image).any()


def test_another_number_of_defects_leaves_the_rest_of_the_part_as_it_is() -> None:
    clean, worn = render_part(3, (640, 480), defects=0), render_part(3, (640, 480), defects=4)
    assert not clean.mask.any()
    assert worn.mask.any()
    assert (clean.image[worn.mask == 0] == worn.image[worn.mask == 0]).all()


def test_the_mask_is_where_the_defect_changes_the_part() -> None:
    """Outside the mask nothing changes; inside it, most pixels do."""
    for seed in range(6):
        clean, worn = render_part(seed, (640, 480), defects=0), render_part(seed, (640, 480), defects=3)
        touched = (clean.image != worn.image).any(axis=2)
        assert not (touched & (worn.mask == 0)).any()
        if worn.mask.any():
            assert touched[worn.mask > 0].mean() > 0.8


def test_defects_lie_on_the_part_and_every_class_comes_up(parts: list[SyntheticPart]) -> None:
    assert all((p.part_mask[p.mask > 0] == 1).all() for p in parts)
    assert {int(v) for p in parts for v in np.unique(p.mask)} == set(range(len(CLASSES) + 1))


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_can_be_seen_on_a_plain_surface(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(8):
        patch = DRAW[name](rng, (0.6, -0.8))
        plain = np.full((*patch.shade.shape, 3), 128, np.uint8)
        pixels, mask = changed(patch, plain)
        assert mask.any()
        difference = np.abs(pixels.astype(int) - 128).max(axis=2)
        core = cv2.erode(mask, np.ones((3, 3), np.uint8)) if mask.sum() > 200 else mask
        assert difference[mask > 0].max() >= VISIBLE
        assert np.median(difference[core > 0]) >= 0.5 * VISIBLE


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("size", [(64, 64), (65, 501), (1023, 77)])
def test_any_size_renders_a_textured_image(texture: str, size: tuple[int, int]) -> None:
    part = render_part(1, size, texture=texture)
    assert part.image.shape == (size[1], size[0], 3)
    assert part.image.dtype == np.uint8
    assert part.image[part.part_mask > 0].std() > 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (((63, 100), None), "64-8192 px"),
        (((9000, 100), None), "64-8192 px"),
        (((100, 100), "rusty"), "'rusty' is not known"),
    ],
)
def test_what_cannot_be_rendered_is_refused(arguments: tuple[tuple[int, int], str | None], says: str) -> None:
    with pytest.raises(InputError, match=says):
        render_part(0, arguments[0], texture=arguments[1])


def test_the_source_shows_numbered_parts_and_ends() -> None:
    settings = SyntheticSettings(size_wh=(96, 80), frames=5, seed=3)
    with SyntheticSource(settings) as source:
        frames = [f for f in source if isinstance(f, Frame)]
    assert [f.part_id for f in frames] == [f"P{n:06d}" for n in range(1, 6)]
    assert len({f.frame_id for f in frames}) == 5
    again = next(iter(SyntheticSource(settings)))
    assert isinstance(again, Frame)
    assert (again.image == frames[0].image).all()


def test_ok_share_sets_how_many_parts_are_clean() -> None:
    for share, expected in ((0.0, True), (1.0, False)):
        settings = SyntheticSettings(size_wh=(256, 256), frames=6, ok_share=share)
        found = []
        for number in range(6):
            seed = settings.seed * 1_000_003 + number
            clean = render_part(seed, (256, 256), defects=0).image
            frame = list(SyntheticSource(settings))[number]
            assert isinstance(frame, Frame)
            found.append(bool((frame.image != clean).any()))
        assert any(found) is expected


def test_the_rate_is_kept_and_stop_ends_it_at_once() -> None:
    source = SyntheticSource(SyntheticSettings(size_wh=(64, 64), rate_hz=20))
    times: list[float] = []
    thread = threading.Thread(target=lambda: times.extend(time.monotonic() for _ in source))
    thread.start()
    time.sleep(0.65)
    source.stop()
    thread.join(timeout=1)
    assert not thread.is_alive()
    assert 6 <= len(times) <= 15
