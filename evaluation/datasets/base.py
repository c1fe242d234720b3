"""The seam between data sets on disk and everything that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sample:
    """One labelled image.

    Attributes
    ----------
    image
        uint8, H x W x 3 (BGR) or H x W (grey).
    mask
        uint8, H x W: 0 is background, k is ``classes[k - 1]``. None where the image has no label.
    group
        Images of one group (one part, one wear sequence) stay on one side of a split.
    """

    sample_id: str
    image: U8
    mask: U8 | None
    group: str
    path: Path | None = None


class DataSet(Protocol):
    """Labelled images, read one at a time: ``len(data)``, ``data[i] -> Sample``."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def ids(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...
