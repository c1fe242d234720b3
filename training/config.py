"""The training file: one run as one TOML file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from jetspect.runtime.settings import LocalPath, Settings
from jetspect.training.focal import FocalSettings
from jetspect.training.transfer import TransferSettings


class DataSettings(Settings):
    """``[data]``: what to learn from."""

    dataset: str = Field(description="Kind of data set, as `jetspect data kinds` lists them")
    path: LocalPath | None = Field(None, description="Its folder; --data on the command line goes before it")
    one_class: str | None = Field(None, min_length=1, description="Name of the one class that all classes become")
    part_scale: int | None = Field(
        None, ge=1, le=64, description="Learn where the part is (stage one of two), on images shrunk this many times"
    )


class ModelSettings(Settings):
    """``[model]``: registered name or module:factory, and its arguments."""

    name: str = Field("unet")
    channels: Literal[1, 3] = Field(3, description="1: grey, 3: BGR")
    weights: str = Field("", description="Of a published encoder: imagenet, or a file; empty: random")
    kwargs: dict[str, Any] = Field(default_factory=dict)


class LossSettings(Settings):
    """``[loss]``: weights of the terms, see :func:`jetspect.training.objective.objective`; 0 leaves one out."""

    bce: float = Field(0.5, ge=0, description="Binary cross-entropy over pixels")
    dice: float = Field(0.5, ge=0, description="Dice with squared denominator")
    dice_over: Literal["batch", "image"] = Field(
        "batch", description="What one Dice is taken over; image: small defects weigh as much as large ones"
    )
    focal: float = Field(0.0, ge=0, description="Focal loss with more weight on hard regions, see [focal]")
    mse: float = Field(0.0, ge=0, description="Squared error of the probability")
    coarse_mse: float = Field(0.0, ge=0, description="The same for the answer before refining (PartsNet)")
    coarse_dice: float = Field(0.0, ge=0, description="Dice of the answer before refining, over what dice_over says")
    decision: float = Field(0.0, ge=0, description="Binary cross-entropy of the decision per image")
    weights: float = Field(0.0, ge=0, description="Sum of squares of all convolution weights (regularisation)")

    @model_validator(mode="after")
    def _something(self) -> LossSettings:
        terms = ("bce", "dice", "focal", "mse", "coarse_mse", "coarse_dice", "decision")
        if not any(getattr(self, term) for term in terms):
            raise ValueError(f"at least one of {', '.join(terms)} must be above 0, else nothing is learned")
        return self


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
    area_power: float = Field(
        0.0, ge=0, le=1, description="Defect crops come from an image as often as its area to this power; 0: all alike"
    )
    whole: bool = Field(
        False, description="Whole images resized to size_wh, defective and clean in turn, instead of crops"
    )
    dilate_px: int = Field(0, ge=0, le=64, description="Grow the labels by this radius (annotation variant)")
    hide_background: bool = Field(False, description="Pixels outside the part count in no loss (stage two of two)")

    @field_validator("size_wh")
    @classmethod
    def _positive(cls, value: tuple[int, int]) -> tuple[int, int]:
        if min(value) < 32:
            raise ValueError("crops need at least 32 x 32 px")
        return value


class SupervisionSettings(Settings):
    """``[supervision]``: how much of the labels may be seen.

    Names as in the benchmark review of the project's five papers.
    """

    level: Literal["full", "mixed", "weak", "none"] = Field(
        "full",
        description="full: every mask; mixed: some masks, else whether an image has a defect; weak: only that; none: nothing",
    )
    share: float = Field(0.25, gt=0, lt=1, description="Share of the defective images whose mask is seen when mixed")


class LimitSettings(Settings):
    """``[limits]``: what thresholds and limits of size are fitted for after training."""

    goal: Literal["pixels", "objects"] = Field(
        "pixels", description="Outlines, or whole defects found and wrongly said"
    )
    min_recall: float | None = Field(None, gt=0, le=1, description="Share of defects to find at least; for objects")


class PhaseSettings(Settings):
    """``[[phases]]``: one step of a schedule that trains parts of a network in turn."""

    steps: int | None = Field(None, ge=1, description="Length; or give epochs")
    epochs: int | None = Field(None, ge=1, description="Length in passes over as many crops as there are images")
    train: tuple[str, ...] = Field((), description="Names of the parts that learn; empty: the whole network")
    learning_rate: float | None = Field(None, gt=0, description="None: that of [schedule]")
    loss: LossSettings | None = Field(None, description="None: [loss]")

    @model_validator(mode="after")
    def _one_length(self) -> PhaseSettings:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("a phase needs either steps or epochs")
        return self


class ScheduleSettings(Settings):
    """``[schedule]``: how long and how fast to learn; the weights that are kept are an average (EMA)."""

    steps: int = Field(9000, ge=1)
    epochs: int | None = Field(
        None, ge=1, description="Goes before steps: passes over as many crops as there are images"
    )
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    decay: Literal["cosine", "constant"] = Field("cosine", description="Of the learning rate, over each phase")
    warmup: int = Field(200, ge=0)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    ema: float = Field(0.995, ge=0, lt=1, description="Decay of the averaged weights; they are what is kept")
    validate_every: int = Field(900, ge=0, description="Steps between two validations; 0: once per epoch")
    patience: int = Field(0, ge=0, description="Stop after this many validations without a better one; 0: never")
    save_every: int = Field(300, ge=1, description="Steps between two resume points")


class TrainConfig(Settings):
    """A whole training file."""

    data: DataSettings
    model: ModelSettings = Field(default_factory=ModelSettings)
    loss: LossSettings = Field(default_factory=LossSettings)
    augment: AugmentSettings = Field(default_factory=AugmentSettings)
    crops: CropSettings = Field(default_factory=CropSettings)
    transfer: TransferSettings | None = Field(None, description="Defects of other images blended in; absent: none")
    focal: FocalSettings = Field(default_factory=FocalSettings)
    supervision: SupervisionSettings = Field(default_factory=SupervisionSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    phases: tuple[PhaseSettings, ...] = Field((), description="Empty: one phase as long as [schedule] says")
    seed: int = Field(0, ge=0, lt=2**63)
    bfloat16: bool | None = Field(
        None,
        description="Mixed precision; None: where it is faster, on a GPU and on a CPU that has bfloat16 instructions",
    )
    threads: int = Field(0, ge=0, description="CPU threads; 0 takes every core")
