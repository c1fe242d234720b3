"""Whole frames for models that cannot be tiled: which ones prove a graph, and how often its decision is wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from jetspect.calibration.crops import MINIMUM, Crop, CropSet
from jetspect.errors import DataSetError, InputError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.whole import fit_frame

U8 = npt.NDArray[np.uint8]


def select_frames(data: DataSet, count: int, frame_wh: tuple[int, int], *, channels: int, seed: int = 0) -> CropSet:
    """Pick ``count`` labelled images, defective and clean ones in turn, resized as a station does.

    Raises
    ------
    DataSetError
        Fewer than two frames were asked for, or the data set has no more labelled images.
    """
    if count < MINIMUM:
        raise DataSetError(f"at least {MINIMUM} frames are needed to stand for a data set, got {count}")
    found: dict[str, list[tuple[str, U8]]] = {"defective": [], "clean": []}
    order = np.random.default_rng(seed).permutation(len(data))
    for index in order:
        if min(map(len, found.values())) >= count:
            break
        sample = data[int(index)]
        if sample.mask is None:
            continue
        kind = found["defective" if sample.mask.any() else "clean"]
        if len(kind) < count:  # small copies, never all images of a kind
            kind.append((sample.sample_id, fit_frame(sample.image, frame_wh, channels)))
    chosen = [(kind, *frames[i]) for i in range(count) for kind, frames in found.items() if i < len(frames)][:count]
    if len(chosen) < MINIMUM:
        raise DataSetError(
            f"data set {data.name} has {len(chosen)} labelled images in this split, at least {MINIMUM} are needed"
        )
    return CropSet(np.stack([f for _, _, f in chosen]), tuple(Crop(name, 0, 0, kind) for kind, name, _ in chosen))


def frame_size(checkpoint: Checkpoint, model: nn.Module, given: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the width and height that a model sees whole frames at; None for one that is tiled.

    Raises
    ------
    InputError
        The size is missing, given twice, or given for a model that has none.
    """
    if not getattr(model, "whole_frame", False):
        if given is not None or checkpoint.frame_wh is not None:
            raise InputError(f"model {checkpoint.model} is tiled and sees no whole frames; leave the frame size out")
        return None
    known = checkpoint.frame_wh
    if known is None and given is None:
        raise InputError(
            f"model {checkpoint.model} sees whole frames, and its checkpoint does not say their size; give --frame, "
            "for example 704x256"
        )
    if known is not None and given is not None and tuple(known) != tuple(given):
        raise InputError(
            f"the checkpoint of {checkpoint.model} was trained on frames of {known[0]} x {known[1]} px, not {given[0]} x "
            f"{given[1]}; leave --frame out"
        )
    width, height = known or given or (0, 0)
    return int(width), int(height)
