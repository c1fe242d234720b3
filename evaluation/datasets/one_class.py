"""A data set whose classes have become one: a defect is a defect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from jetspect.evaluation.datasets.base import DataSet, Sample


class OneClass:
    """Another data set with the masks of all its classes under one name.

    Few examples of each kind of defect teach a network more together; which kind it is, is another question.
    """

    def __init__(self, data: DataSet, name: str) -> None:
        self._data = data
        self.name, self.classes = data.name, (name,)
        self.ids: Sequence[str] = data.ids

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> Sample:
        sample = self._data[index]
        return sample if sample.mask is None else replace(sample, mask=(sample.mask > 0).astype(np.uint8))
