"""The chosen tiles stand for the whole data set: every class, small and large, dark and bright, and clean texture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from jetspect.calibration.crops import select_crops
from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import Sample

U8 = npt.NDArray[np.uint8]


class Drawn:
    """Images 96 x 128 drawn when asked for; a dot of class 1 or a blob of it, ``rare`` ones of class 2 instead."""

    name = "drawn"
    classes = ("pit", "crack")

    def __init__(self, count: int, rare: Sequence[int] = (), labelled: bool = True, size: tuple[int, int] = (96, 128)):
        self.ids = tuple(f"i{n}" for n in range(count))
        self._rare, self._labelled, self._size = rare, labelled, size
        self.reads = 0

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        image = np.full((*self._size, 3), 40 + index % 150, np.uint8)
        mask = np.zeros(self._size, np.uint8)
        if index % 3:
            side = 3 if index % 3 == 1 else 15
            y, x = 10 + index % 40, 20 + index % 60
            mask[y : y + side, x : x + side] = 2 if index in self._rare else 1
        image[mask > 0] = 250
        return Sample(self.ids[index], image, mask if self._labelled else None, self.ids[index])


def test_every_stratum_is_there_in_turn() -> None:
    crops = select_crops(Drawn(60, rare=[7, 8]), 14, 32, channels=3)
    assert crops.tiles.shape == (14, 32, 32, 3)
    assert set(crops.strata) == {"pit small", "pit large", "crack small", "crack large", "clean dark", "clean bright"}
    assert max(crops.strata.values()) - 1 <= crops.strata["pit small"]
    for tile, crop in zip(crops.tiles, crops.crops, strict=True):
        bright = int((tile == 250).all(axis=2).sum())
        assert (bright == 0) == crop.stratum.startswith("clean")
        if crop.stratum == "pit small":
            assert bright <= 15 * 15


def test_a_tile_is_what_its_origin_says() -> None:
    data = Drawn(40)
    chosen = select_crops(data, 9, 32, channels=3)
    for tile, crop in zip(chosen.tiles, chosen.crops, strict=True):
        image = data[data.ids.index(crop.sample_id)].image
        assert np.array_equal(tile, image[crop.y : crop.y + 32, crop.x : crop.x + 32])
        assert str(crop).startswith(f"{crop.sample_id} at {crop.x},{crop.y} (")


def test_the_same_seed_chooses_the_same_and_another_does_not() -> None:
    one, two, other = (select_crops(Drawn(60), 8, 32, channels=3, seed=seed).crops for seed in (3, 3, 4))
    assert one == two
    assert one != other


def test_a_class_that_is_rare_is_searched_for_in_the_whole_data_set() -> None:
    """And where all classes are common, a large data set is not read to its end."""
    searched = Drawn(600, rare=[431])
    assert select_crops(searched, 6, 32, channels=3).strata["crack small"] == 1
    common = Drawn(600, rare=range(0, 600, 2))
    select_crops(common, 6, 32, channels=3)
    assert common.reads < 100


def test_no_tile_is_taken_twice_where_an_image_is_smaller_than_a_tile() -> None:
    crops = select_crops(Drawn(12), 12, 160, channels=3)
    places = [(c.sample_id, c.y, c.x) for c in crops.crops]
    assert len(set(places)) == len(places) == len(crops.tiles) <= 12
    assert crops.tiles.shape[1:] == (160, 160, 3)


def test_a_grey_model_gets_grey_tiles() -> None:
    assert select_crops(Drawn(20), 4, 32, channels=1).tiles.shape == (4, 32, 32, 1)


def test_too_few_tiles_are_refused() -> None:
    with pytest.raises(DataSetError, match="at least 2 tiles are needed to stand for a data set, got 1"):
        select_crops(Drawn(20), 1, 32, channels=3)
    with pytest.raises(DataSetError, match="drawn gives 0 tiles of 32 px in this split, at least 2 are needed"):
        select_crops(Drawn(20, labelled=False), 8, 32, channels=3)
    with pytest.raises(DataSetError, match="drawn gives 1 tiles"):
        select_crops(Drawn(1), 8, 32, channels=3)
