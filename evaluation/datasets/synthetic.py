"""The synthetic camera as a labelled data set: no files, every split drawn from its own seeds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jetspect.evaluation.datasets.base import Sample
from jetspect.evaluation.datasets.info import ALL_TASKS, DataSetInfo
from jetspect.evaluation.datasets.splits import check_split
from jetspect.runtime.sources.synthetic import CLASSES, SyntheticPart, render_part

GROUPS = {"scratch": ("scratch", "crack"), "dent": ("pit", "dent"), "stain": ("stain",)}
_SEEDS = {"train": range(10_000, 10_240), "val": range(20_000, 20_048), "test": range(30_000, 30_096)}
SIZE_WH = (1024, 768)


class SyntheticParts:
    """Rendered metal parts. Look-alikes share a class: scratches and cracks, pits and dents, stains."""

    info = DataSetInfo(
        kind="synthetic",
        title="parts of the synthetic camera",
        tasks=ALL_TASKS,
        labels="rendered",
        training_defects=True,
        split="by seed",
        source="this project",
        licence="Apache-2.0",
    )
    name = info.kind
    classes = tuple(GROUPS)

    def __init__(self, split: str, size_wh: tuple[int, int] = SIZE_WH) -> None:
        check_split(split)
        self._seeds = [s for name, seeds in _SEEDS.items() if split in (name, "all") for s in seeds]
        self._size_wh = size_wh
        self.ids: tuple[str, ...] = tuple(f"part-{seed}" for seed in self._seeds)
        self._lookup = np.zeros(256, np.uint8)
        for value, members in enumerate(GROUPS.values(), 1):
            for member in members:
                self._lookup[CLASSES.index(member) + 1] = value

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, index: int) -> Sample:
        part = self._part(index)
        return Sample(self.ids[index], part.image, self._lookup[part.mask], self.ids[index])

    def part_mask(self, index: int) -> npt.NDArray[np.uint8]:
        """Return where the part is: uint8 H x W, 1 part, 0 tray and holes."""
        return self._part(index).part_mask

    def _part(self, index: int) -> SyntheticPart:
        seed = self._seeds[index]
        # Every fifth part is clean, so that background is learned from whole parts too.
        return render_part(seed, self._size_wh, defects=0 if seed % 5 == 0 else None)
