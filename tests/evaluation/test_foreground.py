"""Estimated part masks, and any data set as one for a first stage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.errors import InputError
from jetspect.evaluation.datasets import Sample, SyntheticParts
from jetspect.evaluation.foreground import PartMasks, estimate_foreground
from jetspect.runtime.foreground import shrink
from jetspect.runtime.sources.synthetic import render_part

U8 = npt.NDArray[np.uint8]


class Disc:
    """One image of a bright textured disc before a plain background, with a defect at its edge; it knows no part."""

    name, classes, ids = "disc", ("pit",), ("one",)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(0)
        y, x = np.mgrid[:300, :400]
        self.disc = ((y - 150) ** 2 + (x - 200) ** 2 < 110**2).astype(np.uint8)
        image = np.where(self.disc[:, :, None] > 0, rng.integers(120, 240, (300, 400, 3)), (60, 90, 120))
        mask = np.zeros((300, 400), np.uint8)
        mask[145:155, 300:316] = 1  # half of it beyond the edge
        return Sample("one", image.astype(np.uint8), mask, "one")


def iou(a: U8, b: U8) -> float:
    return float(np.count_nonzero((a > 0) & (b > 0)) / np.count_nonzero((a > 0) | (b > 0)))


@pytest.mark.parametrize("seed", range(6))
def test_rendered_parts_are_found_on_their_tray(seed: int) -> None:
    """Holes count as part: in an estimate a hole is more likely a defect than background."""
    part = render_part(seed, (800, 600), whole_frame=False)
    got = estimate_foreground(part.image)
    assert got.shape == part.part_mask.shape and set(np.unique(got)) <= {0, 1}
    assert iou(got, part.part_mask) > 0.9
    assert (got[part.mask > 0] == 1).all()
    assert (got == estimate_foreground(part.image)).all()


def test_a_disc_is_found_in_colour_and_grey() -> None:
    data = Disc()
    image = data[0].image
    for picture in (image, np.ascontiguousarray(image[:, :, 1])):
        assert iou(estimate_foreground(picture), data.disc) > 0.93


@pytest.mark.parametrize("size", [(8, 8), (16, 400), (200, 300)])
def test_where_nothing_stands_out_the_part_fills_the_image(size: tuple[int, int]) -> None:
    plain = np.full((*size, 3), 128, np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    assert estimate_foreground(plain).all()
    assert estimate_foreground(noise).all()


def test_a_first_stage_learns_from_what_the_runtime_will_show_it() -> None:
    data = Disc()
    parts = PartMasks(data, 4)
    sample = parts[0]
    assert (parts.name, parts.classes, list(parts.ids), len(parts)) == ("disc, parts", ("part",), ["one"], 1)
    assert sample.mask is not None
    assert (sample.image == shrink(data[0].image, 4)).all()
    assert sample.mask.shape == (75, 100)
    assert iou(sample.mask, (shrink(data.disc * np.uint8(255), 4) > 127).astype(np.uint8)) > 0.9
    assert sample.mask[38, 78] == 1, "labelled damage belongs to the part"


def test_a_data_set_that_knows_its_parts_is_believed() -> None:
    data = SyntheticParts("val", (256, 192))
    mask = PartMasks(data, 2)[1].mask
    assert mask is not None
    truth = np.maximum(data.part_mask(1), (data[1].mask > 0).astype(np.uint8))  # type: ignore[operator]
    halves = truth.reshape(96, 2, 128, 2).mean(axis=(1, 3)) >= 0.5
    assert (mask == halves).all()
    with pytest.raises(InputError, match="1 to 64 times for stage one, got 0"):
        PartMasks(data, 0)
