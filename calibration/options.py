"""What a calibration is asked for, and whether a bundle can be calibrated that way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jetspect.calibration.coverage import LEAST_CROPS
from jetspect.calibration.gate import Limits
from jetspect.calibration.ranges import Method
from jetspect.errors import CalibrationError
from jetspect.runtime.bundle import Bundle

TILE_PX = 384
MOST_TILE_PX = 4096
JUDGE_TILES = 96


@dataclass(frozen=True)
class CalibrateOptions:
    """Everything about a calibration but the bundle.

    Attributes
    ----------
    crops_from, judge_on
        Splits: what ranges are measured on, and what INT8 is judged on.
    least_int8
        Share of the multiply-adds that must be INT8.
    checkpoint
        What the bundle was exported from: PyTorch joins the table.
    """

    dataset: str
    data: Path | None = None
    crops_from: str = "train"
    judge_on: str = "val"
    method: Method | Literal["auto"] = "auto"
    crops: int = 512
    limits: Limits = field(default_factory=Limits)
    least_int8: float = 0.8
    seed: int = 0
    tile_px: int = TILE_PX
    judge_tiles: int = JUDGE_TILES
    checkpoint: Path | None = None


def check_options(bundle: Bundle, path: Path, options: CalibrateOptions) -> None:
    """Raise CalibrationError before the work where a bundle cannot be calibrated, or not that way."""
    if not path.is_dir():
        raise CalibrationError(f"{path} is a zip; calibration writes into the bundle, so unpack it into a folder first")
    tiling = bundle.manifest.tiling
    if tiling.frame_wh is not None:
        width, height = tiling.frame_wh
        others = "fp16" if "fp16" in bundle.manifest.graphs else "fp32"
        raise CalibrationError(
            f"{bundle.manifest.name} sees whole frames of {width} x {height} px; only models of tiles are calibrated, because "
            "INT8 is judged by its masks and golden scores, which say nothing of a decision on the whole frame; "
            f"run it with --precision {others}"
        )
    if any(c.min_area_mm2 is not None for c in bundle.manifest.output.classes):
        raise CalibrationError(
            f"{bundle.manifest.name} has limits in mm2, which need the pixel pitch of a station; export it with limits in px"
        )
    if options.crops < LEAST_CROPS:
        raise CalibrationError(
            f"calibration needs at least {LEAST_CROPS} crops to see what activations reach, got {options.crops}"
        )
    if not 0 < options.tile_px <= MOST_TILE_PX:
        raise CalibrationError(f"crops are 1 to {MOST_TILE_PX} px wide, got {options.tile_px}; choose another --tile")
    if options.seed < 0:
        raise CalibrationError(f"the seed is 0 or more, got {options.seed}")
    if options.tile_px % tiling.stride_px:
        raise CalibrationError(
            f"tiles of {options.tile_px} px are no multiple of the stride of {tiling.stride_px} px; choose another --tile"
        )
