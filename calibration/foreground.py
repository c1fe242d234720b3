"""Stage one of a two-stage bundle: from its checkpoint to a job, and what it costs and keeps on labelled images."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jetspect.calibration.expressive import rendered_tiles
from jetspect.errors import DataSetError, InputError
from jetspect.evaluation.datasets.base import DataSet
from jetspect.export.job import ExportJob, ForegroundJob
from jetspect.export.tiles import torch_score
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.foreground import shrink
from jetspect.runtime.inspector import Inspector
from jetspect.runtime.manifest import ClassSpec, Provenance
from jetspect.runtime.scoring import gather
from jetspect.runtime.tiling import Cut, Tile

U8 = npt.NDArray[np.uint8]
GOLDEN, PARITY = 2, 12
# A multiple of every stride that a model may have; a shrunken frame rarely has much more.
TILE_PX = 256
MARGIN_BLOCKS = 2


@dataclass(frozen=True)
class ForegroundOptions:
    """``--foreground`` and what goes with it.

    Attributes
    ----------
    scale
        None takes the checkpoint's own: ``info["scale"]``, where its training wrote it down.
    margin_px
        None takes two pixels of the shrunken frame.
    """

    path: Path
    scale: int | None = None
    margin_px: int | None = None
    min_foreground: float = 0.005


def foreground_job(options: ForegroundOptions, data: DataSet, split: str, *, rendered: bool = False) -> ForegroundJob:
    """Read stage one's checkpoint and cut tiles for parity from shrunken images of a data set.

    Parameters
    ----------
    rendered
        Take the golden tiles from the synthetic camera, for data whose images must not travel in a bundle.

    Raises
    ------
    InputError
        The checkpoint cannot be used, or the scale is not known.
    """
    checkpoint = Checkpoint.load(options.path)
    scale = options.scale if options.scale is not None else checkpoint.info.get("scale")
    if not isinstance(scale, int) or not 1 <= scale <= 64:
        raise InputError(
            f"{options.path} does not say how much its images were shrunk (got {scale!r}, 1 to 64 is needed); "
            "give --foreground-scale"
        )
    places = np.unique(np.linspace(0, len(data) - 1, PARITY).astype(int))
    tiles = np.stack([_tile(data[int(i)].image, scale, checkpoint.channels) for i in places])
    job = ExportJob(
        model=checkpoint.build(),
        name="stage-one",
        version="1",
        classes=tuple(
            ClassSpec(name=name, threshold=level, threshold_low=level)
            for name, level in zip(checkpoint.classes, checkpoint.thresholds, strict=True)
        ),
        mean=checkpoint.mean,
        std=checkpoint.std,
        tiles=tiles,
        texture=tiles[0],
        provenance=Provenance(
            model=describe_model(checkpoint),
            checkpoint_sha256=hashlib.sha256(options.path.read_bytes()).hexdigest(),
            data=describe_data(checkpoint, data, split),
        ),
        golden=min(GOLDEN, len(tiles)),
    )
    if rendered:
        job = replace(job, golden_tiles=rendered_tiles(torch_score(job), GOLDEN, TILE_PX, checkpoint.channels))
    margin = MARGIN_BLOCKS * scale if options.margin_px is None else options.margin_px
    return ForegroundJob(job, scale, margin, options.min_foreground)


def measure_foreground(bundle: Bundle, data: DataSet) -> dict[str, float]:
    """Return what stage one does on labelled images, through the runtime.

    ``defects_kept`` is the share of defective pixels that stage two still gets to see (anything below 1 is lost for good),
    ``inspected`` the share of the frames' pixels inside the grown mask.

    Raises
    ------
    DataSetError
        No image has a label.
    """
    engine, _ = open_engine(bundle)
    kept = defective = inside = pixels = 0
    with Inspector(bundle, engine) as inspector:
        for index in range(len(data)):
            sample = data[index]
            mask = inspector.foreground(sample.image)
            if mask is None or sample.mask is None:
                continue
            full, truth = mask.full() > 0, sample.mask > 0
            kept, defective = kept + int(np.count_nonzero(full & truth)), defective + int(np.count_nonzero(truth))
            inside, pixels = inside + int(np.count_nonzero(full)), pixels + full.size
    if not pixels:
        raise DataSetError(f"data set {data.name} has no labelled image in this split to measure stage one on")
    return {"defects_kept": round(kept / max(1, defective), 5), "inspected": round(inside / pixels, 5)}


def describe_model(checkpoint: Checkpoint) -> str:
    """Name a model with its arguments."""
    return f"{checkpoint.model}({', '.join(f'{k}={v}' for k, v in sorted(checkpoint.kwargs.items()))})"


def describe_data(checkpoint: Checkpoint, data: DataSet, split: str) -> str:
    """Say what a checkpoint learned from, and where tiles and accuracy come from."""
    trained = checkpoint.info.get("train_images")
    learned = f"trained on {trained} images of {checkpoint.info.get('dataset')} (train); " if trained else ""
    return f"{learned}tiles and accuracy from {len(data)} images of {data.name} ({split})"


def _tile(image: U8, scale: int, channels: int) -> U8:
    """Return the middle of the shrunken image, uint8 T x T x C; what is missing is reflected as the runtime does."""
    out = np.empty((TILE_PX, TILE_PX, channels), np.uint8)
    small = shrink(image, scale)
    y, x = (max(0, (n - TILE_PX) // 2) for n in small.shape[:2])
    gather(small, Tile(Cut(y, 0, 0), Cut(x, 0, 0)), out)
    return out
