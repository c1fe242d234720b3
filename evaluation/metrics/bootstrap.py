"""Confidence intervals by resampling: how far a measure would move with other images of the same kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError

Weights = npt.NDArray[np.float64]
Interval = tuple[float, float]


def bootstrap(
    measure: Callable[[Weights], Mapping[str, float]],
    groups: Sequence[str],
    *,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Return percentile intervals of measures over images (Efron and Tibshirani, 1993, chapter 13).

    Whole groups are drawn with replacement, since images of one part are not independent of each other; with a few groups
    only, the intervals are too narrow.

    Parameters
    ----------
    measure
        Weights of the images (how often each was drawn) -> measures by name; NaN where one is not defined.
    groups
        The group of every image.

    Returns
    -------
    dict
        Name -> (low, high), NaN where fewer than half of the resamples define a measure, or where there is one group alone:
        nothing can be said about others from it.

    Raises
    ------
    InputError
        No image, or a level outside 0-1.
    """
    if not groups or not 0 < level < 1 or resamples < 1:
        raise InputError(
            f"intervals need images, a level between 0 and 1 and resamples; got {len(groups)}, {level}, {resamples}"
        )
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    count = int(member.max()) + 1
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        times = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        for name, value in measure(times[member]).items():
            drawn.setdefault(name, []).append(value)
    tail = (1 - level) / 2
    return {
        name: _interval(np.asarray(values), tail) if count > 1 else (math.nan, math.nan)
        for name, values in drawn.items()
    }


def _interval(values: npt.NDArray[np.float64], tail: float) -> Interval:
    defined = values[~np.isnan(values)]
    if 2 * defined.size < values.size:
        return math.nan, math.nan
    low, high = np.quantile(defined, (tail, 1 - tail))
    return float(low), float(high)
