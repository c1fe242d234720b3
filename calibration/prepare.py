"""From a checkpoint and a labelled data set to a bundle: choose real tiles, export, measure accuracy."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from jetspect.calibration.crops import select_crops
from jetspect.calibration.expressive import rendered_tiles
from jetspect.calibration.foreground import (
    ForegroundOptions,
    describe_data,
    describe_model,
    foreground_job,
    measure_foreground,
)
from jetspect.calibration.frames import frame_size, select_frames
from jetspect.errors import InputError
from jetspect.evaluation.datasets import DataSet, open_dataset
from jetspect.evaluation.evaluate import Evaluation, evaluate
from jetspect.export.bundle import ExportJob, export_bundle
from jetspect.export.tiles import torch_score
from jetspect.models.checkpoint import Checkpoint
from jetspect.models.registry import build_model
from jetspect.models.weights import load_file
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines import open_engine
from jetspect.runtime.inspector import Inspector, InspectorSettings
from jetspect.runtime.manifest import ClassSpec, Manifest, Provenance
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import gather
from jetspect.runtime.tiling import Cut, Tile

U8 = npt.NDArray[np.uint8]
GOLDEN, PARITY, PARITY_FRAMES = 4, 16, 8
GOLDEN_PX = 384
# A d-fine whose stem has stride 2 needs a halo of 384 px, and a texture of more than three times that to see it.
TEXTURE_PX = 1280
REPORTED = ("iou", "iou_mean", "precision", "recall", "object_recall", "image_recall", "image_fpr", "n")
DECIDED = ("image_ap", "image_fp", "image_fn")


@dataclass(frozen=True)
class BareWeights:
    """What a file of bare weights does not say itself."""

    model: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def parse(cls, model: str, classes: str | None, mean: str | None, std: str | None) -> BareWeights:
        """Read the comma separated options. Raises InputError where one is missing or no number."""
        if classes is None or mean is None or std is None:
            raise InputError("bare weights need --model, --classes, --mean and --std together")
        try:
            numbers = [tuple(float(v) for v in text.split(",")) for text in (mean, std)]
        except ValueError as error:
            raise InputError(f"--mean and --std are numbers separated by commas, got {mean!r} and {std!r}") from error
        if len(numbers[0]) != len(numbers[1]) or len(numbers[0]) not in (1, 3) or min(numbers[1]) <= 0:
            raise InputError(f"--mean and --std need 1 or 3 numbers each, std above 0, got {mean!r} and {std!r}")
        return cls(model, tuple(name.strip() for name in classes.split(",")), numbers[0], numbers[1])

    def checkpoint(self, path: Path) -> Checkpoint:
        """Read the weights; a dictionary with ``state_dict`` inside is unwrapped."""
        weights = load_file(path)
        inner = weights.get("state_dict", weights)
        build_model(self.model)  # says what is wrong with the name before the weights are looked at
        half = tuple(0.5 for _ in self.classes)
        return Checkpoint(
            self.model, {}, self.classes, len(self.mean), self.mean, self.std, inner, half, half, tuple(1 for _ in half)
        )


@dataclass(frozen=True)
class ExportOptions:
    """Everything about an export but the weights."""

    dataset: str
    data: Path | None
    split: str
    name: str
    version: str
    description: str = ""
    notes: Path | None = None
    tile_px: int | None = None
    frame_wh: tuple[int, int] | None = None
    golden_from: Literal["data", "rendered"] = "data"
    bare: BareWeights | None = None
    foreground: ForegroundOptions | None = None
    command: str = ""


def export_checkpoint(
    path: Path,
    out: Path,
    options: ExportOptions,
    *,
    force: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Export a checkpoint with tiles and accuracy from a labelled data set; see :func:`export_bundle` for errors."""
    checkpoint = options.bare.checkpoint(path) if options.bare else Checkpoint.load(path)
    model = checkpoint.build()
    report("choosing tiles")
    data = open_dataset(options.dataset, options.data, options.split, protocol="evaluate")
    frame_wh = frame_size(checkpoint, model, options.frame_wh)
    crops = (
        select_crops(data, PARITY, GOLDEN_PX, channels=checkpoint.channels)
        if frame_wh is None
        else select_frames(data, PARITY_FRAMES, frame_wh, channels=checkpoint.channels)
    )
    notes = ""
    if options.notes is not None:
        try:
            notes = options.notes.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"notes {options.notes} cannot be read: {error}") from error

    def measure(bundle: Bundle) -> dict[str, float]:
        return measure_accuracy(bundle, data)

    job = ExportJob(
        model=model,
        name=options.name,
        version=options.version,
        classes=class_specs(checkpoint),
        mean=checkpoint.mean,
        std=checkpoint.std,
        tiles=crops.tiles,
        texture=mosaic(data, checkpoint.channels) if frame_wh is None else crops.tiles[0],
        provenance=Provenance(
            model=describe_model(checkpoint),
            checkpoint_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            command=options.command,
            data=describe_data(checkpoint, data, options.split),
        ),
        description=options.description,
        tile_px=options.tile_px,
        golden=min(GOLDEN, len(crops.tiles)),
        tile_origins=tuple(str(crop) for crop in crops.crops),
        notes=notes,
        measure=measure,
        frame_wh=frame_wh,
        decision_threshold=0.5 if checkpoint.decision_threshold is None else checkpoint.decision_threshold,
    )
    if options.golden_from == "rendered":
        tiles = rendered_tiles(torch_score(job), GOLDEN, frame_wh or GOLDEN_PX, checkpoint.channels)
        job = replace(job, golden_tiles=tiles)
    if options.foreground is not None:
        first = foreground_job(options.foreground, data, options.split, rendered=options.golden_from == "rendered")

        def measure_first(bundle: Bundle) -> dict[str, float]:
            return measure_foreground(bundle, data)

        job = replace(job, foreground=first, measure_foreground=measure_first)
    return export_bundle(job, out, force=force, report=report)


def class_specs(checkpoint: Checkpoint) -> tuple[ClassSpec, ...]:
    """Return the classes with the limits that training fitted.

    Raises
    ------
    InputError
        A name or a limit that a bundle cannot carry.
    """
    low = checkpoint.thresholds_low or checkpoint.thresholds
    none = (None,) * len(checkpoint.classes)
    largest, longest = checkpoint.max_area_px or none, checkpoint.max_aspect or none
    limits = zip(checkpoint.thresholds, low, checkpoint.min_area_px, largest, longest, strict=True)
    specs = []
    for name, (high, lower, area, most, aspect) in zip(checkpoint.classes, limits, strict=True):
        try:
            specs.append(
                ClassSpec(
                    name=name,
                    threshold=high,
                    threshold_low=lower,
                    min_area_px=area,
                    max_area_px=most,
                    max_aspect=aspect,
                )
            )
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"])) or "limits"
            raise InputError(f"class {name!r} cannot go into a bundle: {where}: {fault['msg']}") from error
    return tuple(specs)


def measure_accuracy(bundle: Bundle, data: DataSet) -> dict[str, float]:
    """Judge the FP32 graph on a data set through the runtime."""
    engine, _ = open_engine(bundle)
    classes = tuple(c.name for c in bundle.manifest.output.classes)
    decision = bundle.manifest.output.decision
    with Inspector(bundle, engine, InspectorSettings(tiling=TilingSettings())) as inspector:
        result = evaluate(
            data, inspector.predict, classes, decision_threshold=None if decision is None else decision.threshold
        )
    return reported(result, REPORTED if decision is None else (*REPORTED, *DECIDED))


def reported(result: Evaluation, names: Sequence[str] = REPORTED) -> dict[str, float]:
    """Return the measures that go into a manifest, without those that are not defined."""
    measures = result.as_dict()
    values = {name: measures[name] for name in names}
    return {name: round(float(v), 5) for name, v in values.items() if v is not None and not math.isnan(v)}


def mosaic(data: DataSet, channels: int, edge: int = TEXTURE_PX) -> U8:
    """Lay images of a data set side by side into one square, uint8 edge x edge x C: texture to measure a halo on."""
    canvas = np.zeros((edge, edge, channels), np.uint8)
    y = x = height = 0
    for index in range(10_000):
        sample = data[index % len(data)].image
        h, w = min(sample.shape[0], edge - y), min(sample.shape[1], edge - x)
        gather(sample, Tile(Cut(0, 0, 0), Cut(0, 0, 0)), part := np.empty((h, w, channels), np.uint8))
        canvas[y : y + h, x : x + w] = part
        x, height = x + w, max(height, h)
        if x >= edge:
            y, x, height = y + height, 0, 0
        if y >= edge:
            break
    return canvas
