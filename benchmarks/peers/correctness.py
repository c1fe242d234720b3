"""Did cutting change the answer? A stitched score map beside the one of the whole frame in one run."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jetspect.errors import InputError
from jetspect.evaluation.metrics import Confusion, confusion
from jetspect.runtime.manifest import OutputContract
from jetspect.runtime.postprocess.reference import Component, find_components, paint

U8 = npt.NDArray[np.uint8]
ROUNDING_LEVELS = (
    1  # another tile size sums in another order: a score at the edge of two levels may fall to either side
)
SMALL_PX = 32 * 32
IOU_SLACK = 0.01


@dataclass(frozen=True)
class Correctness:
    """How far a stitched answer is from the whole frame's, over all frames.

    Attributes
    ----------
    seam_px
        Pixels whose score differs by more than rounding, in any class.
    worst_levels
        The largest difference, of 255.
    defects
        Found in whole frames; ``split`` of them came out in two or more pieces, ``missed`` not at all.
    small
        Those below 32 x 32 px, and ``missed_small`` of them.
    invented
        Found in the stitched answer only.
    same, truth
        Defective pixels against those of whole frames, and against what was drawn.
    """

    pixels: int = 0
    seam_px: int = 0
    worst_levels: int = 0
    defects: int = 0
    split: int = 0
    missed: int = 0
    small: int = 0
    missed_small: int = 0
    invented: int = 0
    same: Confusion = field(default_factory=Confusion)
    truth: Confusion = field(default_factory=Confusion)

    def __add__(self, other: Correctness) -> Correctness:
        return Correctness(
            pixels=self.pixels + other.pixels,
            seam_px=self.seam_px + other.seam_px,
            worst_levels=max(self.worst_levels, other.worst_levels),
            defects=self.defects + other.defects,
            split=self.split + other.split,
            missed=self.missed + other.missed,
            small=self.small + other.small,
            missed_small=self.missed_small + other.missed_small,
            invented=self.invented + other.invented,
            same=self.same + other.same,
            truth=self.truth + other.truth,
        )

    def as_good_as(self, other: Correctness) -> bool:
        """Whether no more defects are missed or split, and the masks agree with whole frames within 0.01 of IoU."""
        if self.missed > other.missed or self.split > other.split:
            return False
        ours, theirs = (c.same.iou if c.same.tp + c.same.fp + c.same.fn else 1.0 for c in (self, other))
        return ours >= theirs - IOU_SLACK


def compare(scores: U8, whole: U8, output: OutputContract, truth: U8) -> Correctness:
    """Compare two score maps uint8 K x H x W of one frame.

    Parameters
    ----------
    truth
        uint8 H x W, non-zero where a defect was drawn.

    Raises
    ------
    InputError
        The sizes differ.
    """
    if scores.shape != whole.shape or truth.shape != whole.shape[1:]:
        raise InputError(f"score maps are {scores.shape} and {whole.shape}, the truth {truth.shape}; sizes must agree")
    apart = np.maximum(scores, whole) - np.minimum(scores, whole)
    worst = apart.max(axis=0)
    found, expected = find_components(scores, output), find_components(whole, output)
    pieces = [pieces_of(c, found) for c in expected]
    small = [n for c, n in zip(expected, pieces, strict=True) if c.area_px < SMALL_PX]
    ours, theirs = paint(found, whole.shape[1:]) > 0, paint(expected, whole.shape[1:]) > 0
    return Correctness(
        pixels=int(worst.size),
        seam_px=int((worst > ROUNDING_LEVELS).sum()),
        worst_levels=int(worst.max()),
        defects=len(expected),
        split=sum(n > 1 for n in pieces),
        missed=sum(n == 0 for n in pieces),
        small=len(small),
        missed_small=sum(n == 0 for n in small),
        invented=sum(not pieces_of(c, expected) for c in found),
        same=confusion(ours, theirs),
        truth=confusion(ours, truth > 0),
    )


def pieces_of(defect: Component, others: list[Component]) -> int:
    """Return how many of other components, of the same class, share a pixel with a defect."""
    return sum(_touch(defect, o) for o in others if o.class_index == defect.class_index)


def _touch(one: Component, other: Component) -> bool:
    a, b = one.box_yxyx, other.box_yxyx
    top, left, bottom, right = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if top >= bottom or left >= right:
        return False
    cuts = (c.bitmap[top - y : bottom - y, left - x : right - x] for c, y, x in ((one, *a[:2]), (other, *b[:2])))
    first, second = cuts
    return bool((first & second).any())
