"""What becomes a bundle, and whether it can: everything that is cheap to know is checked before the work begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import nn

from jetspect.errors import ExportError
from jetspect.export.graph import Activation
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.manifest import ClassSpec, Manifest, Provenance

U8 = npt.NDArray[np.uint8]
Measure = Callable[[Bundle], dict[str, float]]


@dataclass(frozen=True, eq=False)
class ForegroundJob:
    """Stage one of a two-stage bundle; see :class:`~jetspect.runtime.manifest.ForegroundSpec` for the numbers.

    Attributes
    ----------
    job
        Its model and tiles (square pieces of shrunken frames), with one class whose threshold is the part's. Its name,
        texture and tiling are not used: stage one always sees the whole frame.
    """

    job: ExportJob
    scale: int
    margin_px: int
    min_foreground: float


@dataclass(frozen=True, eq=False)
class ExportJob:
    """What becomes a bundle.

    Attributes
    ----------
    model
        In evaluation mode; float N x C x H x W normalised in, logits N x K x H x W out. One that sees whole frames answers
        logits N x K x H/s x W/s and a decision N x 1.
    tiles
        uint8 N x T x T x C: real tiles for parity; the first ``golden`` of them become the golden tiles.
    golden_tiles
        Other tiles to take as golden ones, for data whose images must not travel in a bundle.
    texture
        uint8 H x W x C: one large real image (or mosaic) on which stride and halo are measured.
    mean, std
        Per channel, on the 0-255 scale.
    measure
        Judges the finished graphs (FP32) on labelled images; its numbers go into the manifest.
    measure_foreground
        The same for stage one.
    tile_origins
        Where each tile comes from, for the report.
    foreground
        Stage one, for a bundle of two stages.
    frame_wh, decision_threshold
        For a model that sees whole frames: their width and height in px (``tiles`` are such frames; ``texture`` and
        ``tile_px`` are not used), and where its decision becomes NOK.
    """

    model: nn.Module
    name: str
    version: str
    classes: tuple[ClassSpec, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tiles: U8
    texture: U8
    provenance: Provenance
    description: str = ""
    activation: Activation = "sigmoid"
    open_px: int = 0
    close_px: int = 0
    tile_px: int | None = None
    golden: int = 4
    golden_tiles: U8 | None = None
    notes: str = ""
    measure: Measure | None = None
    tile_origins: tuple[str, ...] = ()
    foreground: ForegroundJob | None = None
    measure_foreground: Measure | None = None
    frame_wh: tuple[int, int] | None = None
    decision_threshold: float = 0.5

    @property
    def golden_set(self) -> U8:
        return self.tiles[: self.golden] if self.golden_tiles is None else self.golden_tiles

    @property
    def channels(self) -> int:
        return int(self.tiles.shape[3])


def check_job(job: ExportJob) -> None:
    """Raise ExportError for what no bundle can be made of."""
    shape = job.tiles.shape
    if job.frame_wh is not None:
        _check_frames(job, job.frame_wh)
    elif getattr(job.model, "whole_frame", False):
        raise ExportError(
            f"a {type(job.model).__name__} sees whole frames of one size and cannot be tiled; give frame_wh"
        )
    elif job.tiles.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (1, 3):
        raise ExportError(f"tiles must be uint8 N x T x T x 1 or 3, got {job.tiles.dtype} {shape}")
    if not 1 <= job.golden <= len(job.tiles):
        raise ExportError(f"golden must be 1 to {len(job.tiles)} (the number of tiles), got {job.golden}")
    if job.frame_wh is None and (
        job.texture.dtype != np.uint8 or job.texture.ndim != 3 or job.texture.shape[2] != shape[3]
    ):
        raise ExportError(
            f"texture must be uint8 H x W x {shape[3]} like the tiles, got {job.texture.dtype} {job.texture.shape}"
        )
    if not len(job.mean) == len(job.std) == job.channels:
        raise ExportError(
            f"mean and std need one value for each of the {job.channels} channels of the tiles, "
            f"got {len(job.mean)} and {len(job.std)}"
        )
    if not np.isfinite([*job.mean, *job.std]).all() or min(job.std) <= 0:
        raise ExportError(f"mean and std must be finite and std above 0, got mean {job.mean} and std {job.std}")
    for name, tensor in job.model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ExportError(f"{name} holds NaN or infinity; the training diverged, export an earlier checkpoint")
    _check_identity(job)
    if job.foreground is not None:
        if job.frame_wh is not None:
            raise ExportError("a model that sees whole frames has no tiles to skip; export it without a stage one")
        first = job.foreground.job
        if len(first.classes) != 1:
            names = ", ".join(c.name for c in first.classes)
            raise ExportError(f"stage one has one class, the part; its checkpoint has {names}: give another one")
        try:
            check_job(first)
        except ExportError as error:
            raise ExportError(f"stage one: {error}") from error


def _check_frames(job: ExportJob, frame_wh: tuple[int, int]) -> None:
    shape, (width, height) = job.tiles.shape, frame_wh
    if job.tiles.dtype != np.uint8 or len(shape) != 4 or shape[1:3] != (height, width) or shape[3] not in (1, 3):
        raise ExportError(f"frames must be uint8 N x {height} x {width} x 1 or 3, got {job.tiles.dtype} {shape}")
    if job.tile_px is not None:
        raise ExportError(
            f"the model sees whole frames of {width} x {height} px; it has no tiles of {job.tile_px} px: leave tile_px out"
        )
    if not 0 <= job.decision_threshold <= 1:
        raise ExportError(f"the decision's threshold must be 0 to 1, got {job.decision_threshold}")


def _check_identity(job: ExportJob) -> None:
    """Let the manifest judge what is known already; what is still missing comes later."""
    known = {
        "name": job.name,
        "version": job.version,
        "created": datetime.now(timezone.utc),
        "description": job.description,
        "provenance": job.provenance,
        "output": {
            "activation": job.activation,
            "classes": job.classes,
            "open_px": job.open_px,
            "close_px": job.close_px,
        },
    }
    try:
        Manifest.model_validate(known)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, e['loc']))} {e.get('input')!r}: {e['msg']}"
            for e in error.errors(include_url=False)
            if e["type"] != "missing"
        ]
        if faults:
            raise ExportError(f"no bundle can be named or described so: {'; '.join(faults)}") from error
