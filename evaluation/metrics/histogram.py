"""Pixel-level ranking from histograms: exact for uint8 scores, and a few kilobytes for any number of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.evaluation.metrics import ranking

LEVELS = np.arange(256)
F64 = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64] | F64


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """How many pixels have each score 0-255, on true defects and beside them; histograms add up.

    Attributes
    ----------
    defect, clean
        int64 or float64, 256 values each.
    """

    defect: Counts
    clean: Counts

    @staticmethod
    def of(scores: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_]) -> ScoreHistogram:
        """Count uint8 scores H x W on and beside a mask H x W."""
        if scores.shape != truth.shape:
            raise InputError(f"scores are {scores.shape}, ground truth {truth.shape}; both must have the same shape")
        every = np.bincount(scores.ravel(), minlength=256)
        inside = np.bincount(scores[truth], minlength=256)
        return ScoreHistogram(inside.astype(np.int64), (every - inside).astype(np.int64))

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        return ScoreHistogram(self.defect + other.defect, self.clean + other.clean)

    @property
    def average_precision(self) -> float:
        """Pixel AP (:func:`~jetspect.evaluation.metrics.ranking.average_precision` of every pixel)."""
        return ranking.average_precision(*self._items())

    @property
    def auroc(self) -> float:
        """Pixel AUROC."""
        return ranking.auroc(*self._items())

    def curves(self) -> tuple[F64, F64, F64]:
        """Return recall, precision and FPR at every threshold from 255 down to 0; NaN where there is no denominator."""
        tp, fp = (np.cumsum(part[::-1]).astype(np.float64) for part in (self.defect, self.clean))
        with np.errstate(invalid="ignore", divide="ignore"):
            return tp / tp[-1], tp / (tp + fp), fp / fp[-1]

    def _items(self) -> tuple[F64, F64, F64]:
        truth = np.repeat([1.0, 0.0], 256)
        return (
            truth,
            np.tile(LEVELS, 2).astype(np.float64),
            np.concatenate([self.defect, self.clean]).astype(np.float64),
        )
