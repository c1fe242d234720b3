"""Labelled images that lie in memory, for what learns from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jetspect.evaluation.datasets.base import Sample

U8 = npt.NDArray[np.uint8]


class Images:
    """One image for each mask, of one colour that tells which it is."""

    name = "images"
    classes = ("spot",)

    def __init__(self, masks: list[U8 | None], size_hw: tuple[int, int] = (40, 60)) -> None:
        self._masks, self._size_hw = masks, size_hw
        self.ids = [str(n) for n in range(len(masks))]

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> Sample:
        return Sample(str(index), np.full((*self._size_hw, 3), 10 + index, np.uint8), self._masks[index], str(index))
