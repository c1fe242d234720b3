"""Choose calibration crops by what they make the network do: together they reach the activation ranges of all candidates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from jetspect.calibration.activations import Activations
from jetspect.calibration.crops import Crop, CropSet, cut_tiles, find_strata, in_turn
from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet

F32 = npt.NDArray[np.float32]
Selection = Literal["coverage", "strata", "random"]
# Fewer crops leave the range of an activation to chance.
LEAST_CROPS = 16
# Candidates per crop that is wanted: enough to choose from, few enough to run them all.
CANDIDATES_PER_CROP = 2
_READ_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Chosen:
    """Crops for calibration, and what was not taken.

    Attributes
    ----------
    covered
        Mean over all channels of the range that the crops reach, as a share of what all candidates reach together; not a
        number where they were not chosen by coverage.
    available
        Candidates by stratum, whether taken or not.
    missing
        Classes of the data set of which no defect was found.
    """

    crops: CropSet
    covered: float
    available: dict[str, int]
    missing: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Hash of the list of crops: where each was cut, in order."""
        return hashlib.sha256("\n".join(map(str, self.crops.crops)).encode()).hexdigest()

    @property
    def left_out(self) -> dict[str, int]:
        """Candidates that were not taken, by stratum."""
        taken = self.crops.strata
        return {name: count - taken.get(name, 0) for name, count in self.available.items()}


def choose_crops(
    data: DataSet,
    count: int,
    tile_px: int,
    activations: Activations,
    *,
    channels: int,
    seed: int = 0,
    how: Selection = "coverage",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Chosen:
    """Choose up to ``count`` crops, the same ones for the same data, network and seed.

    ``coverage`` goes through the strata in turn (each class small and large, clean texture dark and bright) and takes from
    each the crop that widens the channels' ranges most. ``strata`` takes any crop of the stratum, ``random`` any tile of
    any image; both are there to compare with.

    Raises
    ------
    DataSetError
        Fewer than 16 crops are wanted, or the labelled images give no more.
    """
    if count < LEAST_CROPS:
        raise DataSetError(
            f"calibration needs at least {LEAST_CROPS} crops to see the range of activations, got {count}"
        )
    rng = np.random.default_rng(seed)
    strata = find_strata(data, CANDIDATES_PER_CROP * count, tile_px, rng)
    if how == "random":
        strata = {"random": _anywhere(data, CANDIDATES_PER_CROP * count, tile_px, rng)}
    pool = in_turn(strata, CANDIDATES_PER_CROP * count, rng)
    if len(pool) < LEAST_CROPS:
        raise DataSetError(
            f"data set {data.name} gives {len(pool)} different crops of {tile_px} px in this split, at least {LEAST_CROPS} are "
            "needed; add labelled images (crops are chosen by their masks)"
        )
    if how == "coverage":
        reach = _reach(data, pool, tile_px, activations, channels, progress)
        order = _greedy(pool, reach, count)
        covered = _share(reach, order)
    else:
        order, covered = list(range(min(count, len(pool)))), math.nan
    chosen = [pool[i] for i in order]
    seen = {name.rsplit(" ", 1)[0] for name, crops in strata.items() if crops}
    available = {name: sum(c.stratum == name for c in pool) for name in sorted({c.stratum for c in pool})}
    missing = () if how == "random" else tuple(name for name in data.classes if name not in seen)
    return Chosen(cut_tiles(data, chosen, tile_px, channels), covered, available, missing)


def _reach(
    data: DataSet,
    pool: list[Crop],
    tile_px: int,
    activations: Activations,
    channels: int,
    progress: Callable[[int, int], None],
) -> F32:
    """Return the largest magnitude of every channel of every activation, per candidate."""
    rows: list[F32] = []
    for start in range(0, len(pool), _READ_AT_ONCE):
        part = pool[start : start + _READ_AT_ONCE]
        # cut_tiles wants two at least; a lone last one goes twice.
        tiles = cut_tiles(data, part if len(part) > 1 else part * 2, tile_px, channels).tiles[: len(part)]
        for tile in tiles:
            rows.append(channel_reach(activations(tile[None]).values()))
            progress(len(rows), len(pool))
    return np.stack(rows)


def channel_reach(tensors: Iterable[F32]) -> F32:
    """Return the largest magnitude per channel of tensors N x C x ..., one after the other."""
    parts = []
    for values in tensors:
        axes = tuple(a for a in range(values.ndim) if a != 1)
        parts.append(np.maximum(values.max(axis=axes), -values.min(axis=axes)))
    return np.concatenate(parts)


def _share(reach: F32, order: list[int]) -> float:
    widest = reach.max(axis=0)
    alive = widest > 0
    return float((reach[order].max(axis=0)[alive] / widest[alive]).mean()) if alive.any() else 0.0


def _greedy(pool: list[Crop], reach: F32, count: int) -> list[int]:
    scale = np.maximum(reach.max(axis=0), np.float32(1e-12))
    shares = reach / scale
    covered = np.zeros(shares.shape[1], np.float32)
    waiting: dict[str, list[int]] = {}
    for index, crop in enumerate(pool):
        waiting.setdefault(crop.stratum, []).append(index)
    order: list[int] = []
    while len(order) < count and any(waiting.values()):
        for indices in waiting.values():
            if indices and len(order) < count:
                gains = np.maximum(shares[indices] - covered, 0).sum(axis=1)
                best = indices.pop(int(np.argmax(gains)))
                covered = np.maximum(covered, shares[best])
                order.append(best)
    return order


def _anywhere(data: DataSet, count: int, tile_px: int, rng: np.random.Generator) -> list[Crop]:
    crops = []
    for _ in range(count):
        sample = data[int(rng.integers(len(data)))]
        y, x = (int(rng.integers(max(1, side - tile_px + 1))) for side in sample.image.shape[:2])
        crops.append(Crop(sample.sample_id, y, x, "random"))
    return crops
