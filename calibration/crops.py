"""Choose tiles that show what matters: every class, small and large defects, dark and bright, and clean texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet, Sample
from jetspect.runtime.scoring import gather
from jetspect.runtime.tiling import Cut, Tile

U8 = npt.NDArray[np.uint8]
MINIMUM = 2


@dataclass(frozen=True)
class Crop:
    """Where a tile comes from: sample, top left corner, and the stratum it stands for."""

    sample_id: str
    y: int
    x: int
    stratum: str

    def __str__(self) -> str:
        return f"{self.sample_id} at {self.x},{self.y} ({self.stratum})"


@dataclass(frozen=True, eq=False)
class CropSet:
    """Tiles uint8 N x T x T x C and where each comes from."""

    tiles: U8
    crops: tuple[Crop, ...]

    @property
    def strata(self) -> dict[str, int]:
        return {s: sum(c.stratum == s for c in self.crops) for s in sorted({c.stratum for c in self.crops})}


def select_crops(data: DataSet, count: int, tile_px: int, *, channels: int, seed: int = 0) -> CropSet:
    """Pick ``count`` tiles in turn from the strata, the same ones for the same data and seed.

    Strata are ``<class> small`` and ``<class> large`` (divided at the median area of that class's defects),
    ``clean dark`` and ``clean bright`` (divided at the median brightness of tiles without a defect).

    Raises
    ------
    DataSetError
        Fewer than two tiles were asked for, or the labelled images give no more.
    """
    if count < MINIMUM:
        raise DataSetError(f"at least {MINIMUM} tiles are needed to stand for a data set, got {count}")
    rng = np.random.default_rng(seed)
    return cut_tiles(data, in_turn(find_strata(data, count, tile_px, rng), count, rng), tile_px, channels)


def find_strata(data: DataSet, count: int, tile_px: int, rng: np.random.Generator) -> dict[str, list[Crop]]:
    """Return where tiles could be cut, by stratum, from enough images to choose ``count`` of them."""
    defects: dict[str, list[tuple[int, Crop]]] = {name: [] for name in data.classes}
    clean: list[tuple[int, Crop]] = []
    for read, index in enumerate(rng.permutation(len(data))):
        # Enough images to choose from, and on through the rest until every class was seen.
        if read >= max(4 * count, 64) and all(defects.values()):
            break
        sample = data[int(index)]
        if sample.mask is None:
            continue
        for k, name in enumerate(data.classes):
            defects[name] += _around_defects(sample, k + 1, tile_px)
        clean += _clean_tile(sample, tile_px, rng)
    strata = {
        f"{name} {part}": crops for name, found in defects.items() for part, crops in _halves(found, "small", "large")
    }
    return strata | {f"clean {part}": crops for part, crops in _halves(clean, "dark", "bright")}


def cut_tiles(data: DataSet, chosen: Sequence[Crop], tile_px: int, channels: int) -> CropSet:
    """Cut the chosen tiles. Raises DataSetError where there are fewer than two."""
    if len(chosen) < MINIMUM:
        raise DataSetError(
            f"data set {data.name} gives {len(chosen)} tiles of {tile_px} px in this split, at least {MINIMUM} are "
            "needed; add labelled images (tiles are chosen by their masks)"
        )
    ids = {sample_id: i for i, sample_id in enumerate(data.ids)}
    tiles = np.empty((len(chosen), tile_px, tile_px, channels), np.uint8)
    last, image = "", np.empty(0, np.uint8)
    # Image by image, so that each is read once.
    for place in sorted(range(len(chosen)), key=lambda i: ids[chosen[i].sample_id]):
        crop = chosen[place]
        if crop.sample_id != last:
            image, last = data[ids[crop.sample_id]].image, crop.sample_id
        tiles[place] = _cut(image, crop, tile_px, channels)
    return CropSet(tiles, tuple(chosen))


def _around_defects(sample: Sample, value: int, tile_px: int) -> list[tuple[int, Crop]]:
    assert sample.mask is not None
    wanted = (sample.mask == value).astype(np.uint8)
    count, _, stats, centroids = cv2.connectedComponentsWithStats(wanted, connectivity=8)
    found = []
    for label in range(1, count):
        x, y = (round(float(c)) - tile_px // 2 for c in centroids[label])
        area = int(stats[label, cv2.CC_STAT_AREA])
        found.append((area, _inside(sample, y, x, tile_px)))
    return found


def _clean_tile(sample: Sample, tile_px: int, rng: np.random.Generator) -> list[tuple[int, Crop]]:
    assert sample.mask is not None
    height, width = sample.mask.shape
    for _ in range(8):
        crop = _inside(sample, int(rng.integers(height)), int(rng.integers(width)), tile_px)
        place = slice(crop.y, crop.y + tile_px), slice(crop.x, crop.x + tile_px)
        if not sample.mask[place].any():
            return [(int(sample.image[place].mean()), crop)]
    return []


def _inside(sample: Sample, y: int, x: int, tile_px: int) -> Crop:
    height, width = sample.image.shape[:2]
    return Crop(sample.sample_id, max(0, min(y, height - tile_px)), max(0, min(x, width - tile_px)), "")


def _halves(found: list[tuple[int, Crop]], low: str, high: str) -> list[tuple[str, list[Crop]]]:
    if not found:
        return []
    middle = float(np.median([value for value, _ in found]))
    return [
        (low, [crop for value, crop in found if value <= middle]),
        (high, [crop for value, crop in found if value > middle]),
    ]


def in_turn(strata: dict[str, list[Crop]], count: int, rng: np.random.Generator) -> list[Crop]:
    """Return up to ``count`` different crops, the strata in turn, at random within each."""
    shuffled = {name: [crops[i] for i in rng.permutation(len(crops))] for name, crops in strata.items()}
    chosen: list[Crop] = []
    taken: set[tuple[str, int, int]] = set()
    while len(chosen) < count and any(shuffled.values()):
        for name, crops in shuffled.items():
            if crops and len(chosen) < count:
                crop = crops.pop()
                place = crop.sample_id, crop.y, crop.x
                if place not in taken:  # neighbouring defects in a small image share one tile
                    taken.add(place)
                    chosen.append(Crop(*place, name))
    return chosen


def _cut(image: U8, crop: Crop, tile_px: int, channels: int) -> U8:
    out = np.empty((tile_px, tile_px, channels), np.uint8)
    gather(image, Tile(Cut(crop.y, 0, 0), Cut(crop.x, 0, 0)), out)
    return out
