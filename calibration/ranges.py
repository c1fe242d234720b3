"""Ranges of activations, kept as histograms of fixed size, and the methods that choose a clipping range from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from jetspect.errors import CalibrationError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Method = Literal["min-max", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = get_args(Method)
BINS = 4096
# Symmetric int8: -127 to 127, so that zero is exact and the scale is the same on both sides.
LEVELS = 127
PERCENTILE = 99.99
# Bins per unit must fit into float32.
_LEAST_POWER = -100


class Histogram:
    """Counts of one tensor's values in equal bins over [-reach, reach]; memory does not grow with what is added.

    ``reach`` is a power of two and doubles when a larger value comes: two bins become one, so no value is seen twice.
    """

    def __init__(self, bins: int = BINS) -> None:
        self.counts = np.zeros(bins, np.int64)
        self.reach = 0.0
        self.lowest, self.highest = np.inf, -np.inf

    def add(self, values: F32) -> None:
        """Count values. Raises ValueError where one is NaN or infinite."""
        low, high = float(values.min()), float(values.max())
        if not np.isfinite((low, high)).all():
            raise ValueError("NaN or infinite values")
        self.lowest, self.highest = min(self.lowest, low), max(self.highest, high)
        largest = max(-low, high)
        if largest > self.reach:
            self._reach(largest)
        if self.reach:
            bins = len(self.counts)
            index = (values.ravel() * np.float32(bins / (2 * self.reach)) + np.float32(bins // 2)).astype(np.int32)
            self.counts += np.bincount(np.minimum(index, bins - 1, out=index), minlength=bins)
        else:  # nothing but zeros so far; their bin stays where it is when the reach grows
            self.counts[len(self.counts) // 2] += values.size

    def _reach(self, largest: float) -> None:
        wanted = 2.0 ** max(int(np.ceil(np.log2(largest))), _LEAST_POWER)
        bins = len(self.counts)
        while self.reach and self.reach < wanted:
            merged = np.zeros_like(self.counts)
            merged[bins // 4 : bins * 3 // 4] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts, self.reach = merged, 2 * self.reach
        self.reach = wanted

    @property
    def largest(self) -> float:
        """Largest magnitude seen."""
        return max(-self.lowest, self.highest)

    def magnitudes(self) -> tuple[F64, F64]:
        """Return the counts of |x| in equal bins from 0, and the middle of each bin."""
        half = len(self.counts) // 2
        counts = (self.counts[half:] + self.counts[:half][::-1]).astype(np.float64)
        return counts, (np.arange(half, dtype=np.float64) + 0.5) * (self.reach / half)


def clip_at(histogram: Histogram, method: Method) -> float:
    """Return the magnitude from which on values are clipped, for symmetric int8.

    ``min-max`` clips nothing. ``percentile`` clips the 0.01 % largest magnitudes. ``mse`` has the least squared error of
    what is rounded and what is clipped together. ``entropy`` loses the least information (Kullback-Leibler divergence; Migacz,
    8-bit Inference with TensorRT, 2017).
    """
    if method == "min-max":
        return histogram.largest
    counts, middles = histogram.magnitudes()
    if method == "percentile":
        share = np.cumsum(counts) / counts.sum()
        found = middles[int(np.searchsorted(share, PERCENTILE / 100))]
    elif method == "mse":
        found = _least_squares(counts, middles, histogram.largest)
    else:
        found = _least_divergence(counts, middles)
    return float(min(found, histogram.largest))


def measure_ranges(histograms: Mapping[str, Histogram], method: Method) -> dict[str, tuple[float, float]]:
    """Return lowest and highest value per tensor after clipping.

    Raises
    ------
    CalibrationError
        A tensor is the same everywhere on all tiles: it has no range to divide into levels.
    """
    ranges = {}
    for tensor, histogram in histograms.items():
        if histogram.highest <= histogram.lowest:
            raise CalibrationError(
                f"activation {tensor!r} is {histogram.lowest:g} everywhere on all calibration tiles, so it has no range to "
                "quantise; train the model further (a dead layer), or check that the tiles are what the model was trained on"
            )
        limit = clip_at(histogram, method)
        ranges[tensor] = max(histogram.lowest, -limit), min(histogram.highest, limit)
    return ranges


def _least_squares(counts: F64, middles: F64, largest: float) -> float:
    limits = largest * np.linspace(0.1, 1.0, 181)
    errors = []
    for limit in limits:
        scale = limit / LEVELS
        said = np.minimum(np.rint(middles / scale), LEVELS) * scale
        # Inside a bin values are spread evenly: where levels are finer than bins, rounding costs scale^2 / 12.
        errors.append(float(counts @ np.maximum((middles - said) ** 2, (middles < limit) * scale**2 / 12)))
    return float(limits[int(np.argmin(errors))])


def _least_divergence(counts: F64, middles: F64, levels: int = LEVELS + 1) -> float:
    filled = np.flatnonzero(counts)
    last = int(filled[-1]) + 1
    # Exact zeros after ReLU say nothing about where to clip and would outweigh everything else.
    counts = counts.copy()
    counts[0] = 0
    best, found = np.inf, last
    for stop in range(levels, last + 1, max(1, last // 256)):
        kept = counts[:stop].copy()
        present = kept > 0
        clipped = counts[stop:].sum()
        if not present.any():
            continue
        reference = kept.copy()
        reference[-1] += clipped
        level = np.arange(stop) * levels // stop
        sums, filled_bins = np.bincount(level, kept, levels), np.bincount(level, present, levels)
        spread = np.where(present, (sums / np.maximum(filled_bins, 1))[level], 0.0)
        p, q = reference / reference.sum(), spread / max(spread.sum(), 1e-12)
        # A bin that the clipped values fall into may be empty in what is kept: give it a little.
        q = np.where((p > 0) & (q <= 0), 1e-9, q)
        inside = p > 0
        divergence = float((p[inside] * np.log(p[inside] / q[inside])).sum())
        if divergence < best:
            best, found = divergence, stop
    width = middles[0] * 2
    return float(found * width)
