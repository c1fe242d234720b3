"""Judge a quantised graph in the task's terms, on tiles with labels: IoU, defects found, small ones apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jetspect.calibration.crops import Crop, CropSet
from jetspect.errors import DataSetError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.evaluation.metrics import Confusion, TrueObject, confusion, match_objects
from jetspect.runtime.manifest import OutputContract
from jetspect.runtime.postprocess.reference import find_components, paint

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Quality:
    """What a graph reaches on the judge's tiles.

    Attributes
    ----------
    iou
        Over all pixels of all tiles.
    recall, small_recall
        Share of defects of which a pixel was found; of those not larger than the median.
    false_tiles
        Share of tiles without a defect on which something was found.
    error_levels
        Mean difference of the scores to FP32, in steps of 1/255.
    """

    iou: float
    recall: float
    small_recall: float
    false_tiles: float
    error_levels: float

    def lost_by(self, other: Quality) -> float:
        """Return what another loses of IoU and of the defects found, small ones counted again; what it wins does not count."""
        pairs = ((self.iou, other.iou), (self.recall, other.recall), (self.small_recall, other.small_recall))
        return sum(max(0.0, mine - theirs) for mine, theirs in pairs)


@dataclass
class Tally:
    """Sums over the judge's tiles for one graph."""

    pixels: Confusion = field(default_factory=Confusion)
    objects: list[TrueObject] = field(default_factory=list)
    clean: int = 0
    alarms: int = 0
    error: float = 0.0
    tiles: int = 0


class Judge:
    """Labelled tiles, the FP32 answer on each, and the bundle's own post-processing.

    Attributes
    ----------
    tiles
        uint8 N x T x T x C.
    """

    def __init__(self, crops: CropSet, data: DataSet, output: OutputContract) -> None:
        self.tiles, self._output = crops.tiles, output
        ids = {sample_id: i for i, sample_id in enumerate(data.ids)}
        edge = crops.tiles.shape[1]
        # Where a tile reaches past its image it was reflected, and has no truth: only the image counts.
        self._truths = [_truth(data, ids[c.sample_id], c, edge) for c in crops.crops]
        areas = [o.area_px for t in self._truths for o in match_objects(t, t).objects]
        if not areas:
            raise DataSetError("none of the tiles to judge on shows a defect; judge on a split with labelled defects")
        self.small_px = float(np.median(areas))
        self._reference: list[U8] = []

    def __len__(self) -> int:
        return len(self.tiles)

    def can_shift(self, levels: int) -> bool:
        """Whether thresholds can be moved by so many steps of 1/255 without one reaching 0 or 1."""
        both = [t for c in self._output.classes for t in (c.threshold, c.threshold_low)]
        return all(1 / 255 < t + levels / 255 < 1 for t in both) or not levels

    def set_reference(self, index: int, probabilities: F32) -> None:
        """Keep FP32's answer for a tile, K x T x T; in order."""
        if index != len(self._reference):
            raise ValueError(f"answers come in order: expected tile {len(self._reference)}, got {index}")
        self._reference.append(_levels(probabilities))

    def add(self, tally: Tally, index: int, probabilities: F32, *, shift_levels: int = 0) -> None:
        """Count a graph's answer for a tile, K x T x T, with thresholds moved by steps of 1/255."""
        scores, truth = _levels(probabilities), self._truths[index]
        output = self._output.shifted(shift_levels)
        said = paint(find_components(scores, output), (scores.shape[1], scores.shape[2])) > 0
        said = said[: truth.shape[0], : truth.shape[1]]
        tally.pixels = tally.pixels + confusion(said, truth)
        tally.objects += match_objects(said, truth).objects
        tally.error += float(np.abs(scores.astype(np.int16) - self._reference[index]).mean())
        tally.tiles += 1
        if not truth.any():
            tally.clean += 1
            tally.alarms += bool(said.any())

    def quality(self, tally: Tally) -> Quality:
        small = [o.found for o in tally.objects if o.area_px <= self.small_px]
        return Quality(
            iou=tally.pixels.iou,
            recall=float(np.mean([o.found for o in tally.objects])),
            small_recall=float(np.mean(small)),
            false_tiles=tally.alarms / tally.clean if tally.clean else 0.0,
            error_levels=tally.error / tally.tiles,
        )


def _truth(data: DataSet, index: int, crop: Crop, edge: int) -> npt.NDArray[np.bool_]:
    mask = data[index].mask
    if mask is None:
        raise DataSetError(f"{crop.sample_id} has no label; tiles to judge on need one")
    return mask[crop.y : crop.y + edge, crop.x : crop.x + edge] > 0


def _levels(probabilities: F32) -> U8:
    levels: U8 = np.clip(255 * probabilities + 0.5, 0, 255).astype(np.uint8)
    return levels
