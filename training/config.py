"""The training file: one run as one TOML file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from jetspect.runtime.settings import LocalPath, Settings


class DataSettings(Settings):
    """``[data]``: what to learn from."""

    dataset: str = Field(description="Kind of data set: bsdata, folder or synthetic")
    path: LocalPath | None = Field(None, description="Its folder; --data on the command line goes before it")


class ModelSettings(Settings):
    """``[model]``: registered name or module:factory, and its arguments."""

    name: str = Field("unet")
    channels: Literal[1, 3] = Field(3, description="1: grey, 3: BGR")
    kwargs: dict[str, Any] = Field(default_factory=dict)


class LossSettings(Settings):
    """``[loss]``: weights of the two terms."""

    bce: float = Field(0.5, ge=0, description="Weight of binary cross-entropy")
    dice: float = Field(0.5, ge=0, description="Weight of Dice with squared denominator")


class AugmentSettings(Settings):
    """``[augment]``: strengths; 0 switches one off."""

    flip_x: bool = True
    flip_y: bool = True
    quarter_turns: bool = Field(False, description="Turn by 90 degrees; only where parts may lie in any direction")
    rotate_deg: float = Field(12.0, ge=0, le=180)
    scale: float = Field(0.35, ge=0, le=1, description="Natural log of the largest zoom in or out")
    stretch: float = Field(0.15, ge=0, le=0.5, description="Largest change of the aspect ratio")
    gamma: float = Field(0.35, ge=0, le=1, description="Natural log of the largest gamma")
    contrast: float = Field(0.3, ge=0, le=0.9)
    brightness: float = Field(30.0, ge=0, le=128, description="Grey levels")
    tint: float = Field(0.1, ge=0, le=0.5, description="Largest gain per colour channel")
    blur_px: float = Field(1.5, ge=0, le=8, description="Largest sigma")
    noise: float = Field(8.0, ge=0, le=64, description="Largest sigma, grey levels")


class CropSettings(Settings):
    """``[crops]``: what a batch is made of."""

    size_wh: tuple[int, int] = Field((576, 416), description="Width and height in px, multiples of the model's stride")
    batch: int = Field(6, ge=1)
    defect_share: float = Field(0.6, ge=0, le=1, description="Share of crops that are laid around a defect pixel")

    @field_validator("size_wh")
    @classmethod
    def _positive(cls, value: tuple[int, int]) -> tuple[int, int]:
        if min(value) < 32:
            raise ValueError("crops need at least 32 x 32 px")
        return value


class ScheduleSettings(Settings):
    """``[schedule]``: AdamW with linear warm-up and cosine decay, weights averaged (EMA)."""

    steps: int = Field(9000, ge=1)
    warmup: int = Field(200, ge=0)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    ema: float = Field(0.995, ge=0, lt=1, description="Decay of the averaged weights; they are what is kept")
    validate_every: int = Field(900, ge=1, description="Steps between two validations")
    save_every: int = Field(300, ge=1, description="Steps between two resume points")


class TrainConfig(Settings):
    """A whole training file."""

    data: DataSettings
    model: ModelSettings = Field(default_factory=ModelSettings)
    loss: LossSettings = Field(default_factory=LossSettings)
    augment: AugmentSettings = Field(default_factory=AugmentSettings)
    crops: CropSettings = Field(default_factory=CropSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    seed: int = Field(0, ge=0)
    bfloat16: bool = Field(False, description="Mixed precision; twice as fast on CPUs with AVX512-BF16 and on GPUs")
    threads: int = Field(0, ge=0, description="CPU threads; 0 takes every core")
