"""Calibration crops widen the ranges of all channels, stand for every stratum, and are the same for the same seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from jetspect.calibration.activations import Activations
from jetspect.calibration.coverage import CANDIDATES_PER_CROP, LEAST_CROPS, Chosen, channel_reach, choose_crops
from jetspect.calibration.crops import Crop, CropSet
from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import Sample

TILE = 32


class Scratched:
    """Images 64 x 96, of different brightness and colour; every third is clean, others have a pit or, some, a crack."""

    name, classes = "scratched", ("pit", "crack")

    def __init__(self, count: int = 45, cracks: Sequence[int] = (1, 2, 4, 10), *, labelled: bool = True) -> None:
        self.ids = tuple(f"i{n}" for n in range(count))
        self._cracks, self._labelled = cracks, labelled

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        image = np.clip(rng.normal(60 + 2 * (index % 40), 5 + index % 20, (64, 96, 3)), 0, 255).astype(np.uint8)
        mask = np.zeros((64, 96), np.uint8)
        if index % 3:
            side, y, x = (3 if index % 3 == 1 else 12 + index % 5), 5 + index % 40, 10 + index % 60
            mask[y : y + side, x : x + side] = 2 if index in self._cracks else 1
            image[mask > 0] = rng.integers(0, 256, 3)
        return Sample(self.ids[index], image, mask if self._labelled else None, self.ids[index])


@pytest.fixture(scope="module")
def activations(sketch: type[Any]) -> Activations:
    """Two layers of random channels: each channel likes another colour."""
    drawing = sketch()
    first = drawing.op("Relu", drawing.conv(drawing.image, "a", (3, 16)))
    second = drawing.op("Relu", drawing.conv(first, "b", (16, 16)))
    return Activations(drawing.graph(drawing.conv(second, "head", (16, 1), 1)), [drawing.image, first, second])


def choose(activations: Activations, count: int = 18, **options: Any) -> Chosen:
    return choose_crops(options.pop("data", Scratched()), count, TILE, activations, channels=3, **options)


def test_the_same_seed_chooses_the_same_crops_and_another_does_not(activations: Activations) -> None:
    one, two, other = (choose(activations, seed=seed) for seed in (3, 3, 4))
    assert one.crops.crops == two.crops.crops and one.sha256 == two.sha256
    assert np.array_equal(one.crops.tiles, two.crops.tiles)
    assert (one.covered, one.available) == (two.covered, two.available)
    assert other.sha256 != one.sha256


def test_every_stratum_is_there_and_what_was_left_is_counted(activations: Activations) -> None:
    chosen = choose(activations)
    strata = {"pit small", "pit large", "crack small", "crack large", "clean dark", "clean bright"}
    assert set(chosen.crops.strata) == set(chosen.available) == strata
    assert len(chosen.crops.tiles) == len(set(chosen.crops.crops)) == 18
    assert sum(chosen.available.values()) <= CANDIDATES_PER_CROP * 18
    assert {k: chosen.crops.strata[k] + v for k, v in chosen.left_out.items()} == chosen.available
    assert min(chosen.left_out.values()) >= 0 and chosen.missing == ()


def test_what_is_covered_is_a_share_of_what_all_candidates_reach(activations: Activations) -> None:
    assert 0.8 < choose(activations).covered < 1
    everything = choose(activations, 120, data=Scratched(30))
    assert everything.covered == 1 and not any(everything.left_out.values())
    assert all(math.isnan(choose(activations, how=how).covered) for how in ("strata", "random"))


def test_choosing_by_coverage_reaches_further_than_the_order_of_strata(activations: Activations) -> None:
    """The same candidates, as many crops: each channel's reach as a share of what both choices reach together."""
    gains = []
    for seed in range(4):
        best, plain = (choose(activations, 16, seed=seed, how=how) for how in ("coverage", "strata"))
        assert best.available == plain.available
        reach = np.stack([channel_reach(activations(c.crops.tiles).values()) for c in (best, plain)])
        shares = (reach / reach.max(axis=0)).mean(axis=1)
        gains.append(shares[0] - shares[1])
    assert min(gains) >= 0 and max(gains) > 0.01


def test_a_channels_reach_is_its_largest_magnitude() -> None:
    tensors = [np.array([[[[1, -5]], [[2, 0]]]], np.float32), np.array([[-3, 4]], np.float32)]
    assert channel_reach(tensors).tolist() == [5, 2, 3, 4]


def test_crops_are_where_they_say_and_random_ones_belong_to_no_stratum(activations: Activations) -> None:
    data = Scratched()
    chosen = choose(activations, data=data, how="random")
    assert set(chosen.crops.strata) == {"random"} and chosen.missing == ()
    for tile, crop in zip(chosen.crops.tiles, chosen.crops.crops, strict=True):
        image = data[data.ids.index(crop.sample_id)].image
        assert np.array_equal(tile, image[crop.y : crop.y + TILE, crop.x : crop.x + TILE])


def test_a_class_without_defects_is_named(activations: Activations) -> None:
    assert choose(activations, data=Scratched(cracks=())).missing == ("crack",)


def test_progress_is_reported_for_every_candidate(activations: Activations) -> None:
    steps: list[tuple[int, int]] = []
    chosen = choose(activations, 16, progress=lambda done, total: steps.append((done, total)))
    total = sum(chosen.available.values())
    assert steps == [(n, total) for n in range(1, total + 1)]


def test_too_few_crops_are_refused(activations: Activations) -> None:
    with pytest.raises(DataSetError, match=f"at least {LEAST_CROPS} crops to see the range of activations, got 15"):
        choose(activations, 15)
    with pytest.raises(DataSetError, match=r"scratched gives 5 different crops of 32 px in this split, at least 16"):
        choose(activations, data=Scratched(3))
    with pytest.raises(DataSetError, match="gives 0 different crops"):
        choose(activations, data=Scratched(labelled=False))


def test_the_hash_changes_with_the_list_and_its_order() -> None:
    crops = (Crop("a", 0, 0, "pit small"), Crop("b", 8, 0, "clean dark"))
    tiles = np.zeros((2, 4, 4, 3), np.uint8)
    chosen = Chosen(CropSet(tiles, crops), 1.0, {}, ())
    changed = [
        crops[::-1],
        crops[:1],
        (crops[0], dataclasses.replace(crops[1], x=1)),
        (crops[0], dataclasses.replace(crops[1], stratum="clean bright")),
    ]
    hashes = {dataclasses.replace(chosen, crops=CropSet(tiles, c)).sha256 for c in changed}
    assert len(hashes | {chosen.sha256}) == 5
    assert len(chosen.sha256) == 64
