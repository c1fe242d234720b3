"""The manifest of a bundle: everything a device needs to know about a model, as a versioned schema."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION: Literal[1] = 1

# int8: FP16 around symmetric int8, for TensorRT from 10 on; int8-trt8: the same with FP32 scales, for TensorRT 8.6;
# int8-cpu: unsigned activations, for x86 processors.
Precision = Literal["fp32", "fp16", "int8", "int8-trt8", "int8-cpu"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# As people name defects in any language; printable, no space at either end.
ClassName = Annotated[str, Field(pattern=r"^[^\s\p{C}]([^\p{C}]*[^\s\p{C}])?$", max_length=60)]
# One plain file name: no folder, no leading dot, so it cannot leave the bundle.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=120)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provenance(Part):
    """Where the weights come from and what exported them."""

    model: str = Field(description="Registered name or module:factory, with its arguments")
    checkpoint_sha256: Sha256 | None = Field(default=None, description="Hash of the checkpoint file; None for none")
    command: str = Field(default="", description="The command that exported the bundle")
    tools: dict[str, str] = Field(default_factory=dict, description="Package name -> version")
    data: str = Field(default="", description="Data set and split that parity and golden tiles were taken from")


class InputContract(Part):
    """What goes into every graph: uint8 tiles N x T x T x C, as the camera gives them.

    Mean and standard deviation are nodes of the graph; they stand here for people.
    """

    name: str = "tiles_u8"
    channels: Literal[1, 3] = 3
    colour_order: Literal["BGR", "GREY"] = "BGR"
    mean: tuple[float, ...] = Field(description="Subtracted in the graph, on the 0-255 scale, one per channel")
    std: tuple[float, ...] = Field(description="Divided by in the graph, on the 0-255 scale, one per channel")


class TilingContract(Part):
    """How a frame may be cut so that the stitched score map equals the whole-frame one, or that it may not be cut."""

    mode: Literal["exact", "blend", "whole"] = Field(
        description="exact: cores are stitched; blend: no halo makes tiles exact, so overlaps are blended (Hann); "
        "whole: the frame is resized to frame_wh and seen at once"
    )
    stride_px: int = Field(ge=1, description="Tile origins and sizes are multiples of this")
    halo_px: int = Field(ge=0, description="Border of a tile that is thrown away (exact) or overlapped (blend)")
    halo_error: float = Field(ge=0.0, description="Largest difference of probability measured at that halo")
    tile_px: int = Field(ge=1, description="Default tile edge; whole: the longer side of frame_wh")
    frame_wh: tuple[int, int] | None = Field(
        None, description="whole only: width and height in px of what the graph takes"
    )

    @model_validator(mode="after")
    def _geometry(self) -> TilingContract:
        if (self.mode == "whole") != (self.frame_wh is not None):
            raise ValueError(f"mode whole needs frame_wh, the others have none; got {self.mode} and {self.frame_wh}")
        if self.frame_wh is not None:
            return self._check_whole(self.frame_wh)
        if self.tile_px % self.stride_px or self.halo_px % self.stride_px:
            raise ValueError(
                f"tile_px {self.tile_px} and halo_px {self.halo_px} must be multiples of stride_px {self.stride_px}"
            )
        if self.tile_px <= 2 * self.halo_px:
            raise ValueError(f"tile_px {self.tile_px} leaves no core inside two halos of {self.halo_px}")
        return self

    def _check_whole(self, frame_wh: tuple[int, int]) -> TilingContract:
        if min(frame_wh) < 1 or any(side % self.stride_px for side in frame_wh):
            raise ValueError(f"frame_wh {frame_wh} must be multiples of stride_px {self.stride_px}")
        if self.tile_px != max(frame_wh) or self.halo_px:
            raise ValueError(
                f"mode whole has no tiles: tile_px is the longer side {max(frame_wh)} and halo_px 0, "
                f"got {self.tile_px} and {self.halo_px}"
            )
        return self


class ClassSpec(Part):
    """One defect class: where it starts, and how small or thin it may be."""

    name: ClassName
    threshold: Probability = Field(0.5, description="A defect has at least one pixel at or above this (high threshold)")
    threshold_low: Probability = Field(0.5, description="It grows to connected pixels at or above this (hysteresis)")
    min_area_px: int = Field(1, ge=1, description="Smaller components are dropped")
    min_area_mm2: float | None = Field(None, gt=0.0, description="The same in mm2; needs the station's pixel pitch")
    max_area_px: int | None = Field(None, ge=1, description="Larger components are dropped; None for no limit")
    max_aspect: float | None = Field(None, ge=1.0, description="Longer side / shorter side of the box, at most")

    @model_validator(mode="after")
    def _ordered(self) -> ClassSpec:
        if self.threshold_low > self.threshold:
            raise ValueError(f"threshold_low {self.threshold_low} must not exceed threshold {self.threshold}")
        return self


class DecisionSpec(Part):
    """A second output of every graph: uint8 N x 1, 255 times the probability that the image shows a defect."""

    name: str = "decision_u8"
    threshold: Probability = Field(0.5, description="At or above this the part is NOK, below OK, whatever was located")


class OutputContract(Part):
    """What comes out of every graph: uint8 scores N x K x T x T, 255 times the probability."""

    name: str = "scores_u8"
    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    classes: tuple[ClassSpec, ...] = Field(min_length=1)
    open_px: int = Field(0, ge=0, le=15, description="Morphological opening with a (2 n + 1) square before labelling")
    close_px: int = Field(0, ge=0, le=15, description="Morphological closing with a (2 n + 1) square before labelling")
    connectivity: Literal[4, 8] = 8
    decision: DecisionSpec | None = Field(None, description="For models that decide on the image as a whole")

    def shifted(self, levels: int) -> OutputContract:
        """Return the contract with every threshold moved by steps of 1/255, within 0 and 1."""
        if not levels:
            return self
        moved = tuple(
            c.model_copy(
                update={
                    "threshold": min(1.0, max(1 / 255, c.threshold + levels / 255)),
                    "threshold_low": min(1.0, max(1 / 255, c.threshold_low + levels / 255)),
                }
            )
            for c in self.classes
        )
        return self.model_copy(update={"classes": moved})

    @model_validator(mode="after")
    def _unique(self) -> OutputContract:
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            raise ValueError(f"class names must differ, got {names}")
        return self


class Parity(Part):
    """How closely a graph reproduces the PyTorch model on real tiles."""

    tiles: int = Field(ge=1)
    max_abs: float = Field(ge=0.0, description="Largest difference of probability")
    mask_iou: float = Field(ge=0.0, le=1.0, description="IoU of the masks at the high thresholds")
    decision_max_abs: float | None = Field(None, ge=0.0, description="Largest difference of the decision's probability")


class GoldenTolerance(Part):
    """How far an engine's uint8 scores may be from the golden FP32 ones."""

    max_levels: int = Field(ge=0, le=255, description="Largest difference of any score, in steps of 1/255")
    mean_levels: float = Field(ge=0.0, description="Largest mean difference of any tile, in steps of 1/255")


class GraphSpec(Part):
    """One ONNX graph of the bundle."""

    file: FileName
    sha256: Sha256
    parity: Parity
    tolerance: GoldenTolerance
    accuracy: dict[str, float] = Field(default_factory=dict, description="Metric -> value measured with this graph")
    golden_scores: str = Field(
        "scores",
        pattern=r"^scores(_[a-z0-9]+)*$",
        description="Array of golden.npz that this graph's engine must reproduce; INT8 graphs have answers of their own",
    )
    threshold_shift: int = Field(
        0,
        ge=-64,
        le=64,
        description="Steps of 1/255 added to every threshold for this graph, fitted when it was calibrated",
    )
    recipe: dict[str, Any] = Field(default_factory=dict, description="How the precision was reached (calibration)")


class GoldenSpec(Part):
    """golden.npz: ``tiles`` uint8 N x T x T x C and ``scores`` uint8 N x K x T x T of the FP32 graph.

    Of a model that sees whole frames these are resized frames, H x W instead of T x T, with ``decisions`` uint8 N x 1 where
    the graph has that output.
    """

    file: FileName
    tiles: int = Field(ge=1)
    tile_px: int = Field(ge=1)
    tile_wh: tuple[int, int] | None = Field(
        None, description="Width and height of golden frames; None for square tiles"
    )

    @property
    def tile_hw(self) -> tuple[int, int]:
        return (self.tile_px, self.tile_px) if self.tile_wh is None else (self.tile_wh[1], self.tile_wh[0])


class ForegroundSpec(Part):
    """Stage one of a two-stage model: a small network that finds the part, so that stage two looks at nothing else.

    It sees the whole frame, shrunk ``scale`` times by area interpolation and padded by reflection to ``stride_px``.
    """

    provenance: Provenance
    input: InputContract
    scale: int = Field(ge=1, le=64, description="Edge of the square of frame pixels that becomes one pixel")
    stride_px: int = Field(ge=1, description="Height and width that the graph takes are multiples of this")
    threshold: Probability = Field(0.5, description="At or above this a pixel belongs to the part")
    margin_px: int = Field(0, ge=0, le=4096, description="The part is grown by at least this, in frame pixels")
    min_foreground: float = Field(
        0.005, gt=0.0, le=1.0, description="Share of the region that must show the part; below: UNKNOWN"
    )
    graphs: dict[Precision, GraphSpec] = Field(min_length=1)
    golden: GoldenSpec = Field(description="Arrays foreground_tiles and foreground_scores, K = 1")

    @model_validator(mode="after")
    def _consistent(self) -> ForegroundSpec:
        if self.golden.tile_px % self.stride_px:
            raise ValueError(f"golden.tile_px {self.golden.tile_px} must be a multiple of stride_px {self.stride_px}")
        return self


class Manifest(Part):
    """manifest.json of a bundle."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]*$", max_length=40)
    created: datetime
    description: str = ""
    provenance: Provenance
    input: InputContract
    tiling: TilingContract
    output: OutputContract
    graphs: dict[Precision, GraphSpec] = Field(min_length=1)
    golden: GoldenSpec
    foreground: ForegroundSpec | None = Field(None, description="Stage one of a two-stage model")

    def at(self, precision: str) -> Manifest:
        """Return the manifest as it holds for one graph: with the thresholds of that graph."""
        spec = self.graphs.get(precision)  # type: ignore[call-overload]  # an engine outside bundles has no shift
        return self if spec is None else self.model_copy(update={"output": self.output.shifted(spec.threshold_shift)})

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        for stage in (self, self.foreground) if self.foreground is not None else (self,):
            if not len(stage.input.mean) == len(stage.input.std) == stage.input.channels:
                raise ValueError("input.mean and input.std need one value per channel")
        if "fp32" not in self.graphs:
            raise ValueError("graphs needs fp32: it defines the golden answer")
        if self.foreground is not None and set(self.foreground.graphs) != set(self.graphs):
            raise ValueError(
                f"both stages need the same precisions, graphs has {', '.join(self.graphs)} and foreground.graphs "
                f"{', '.join(self.foreground.graphs)}"
            )
        if self.output.decision is not None and self.tiling.mode != "whole":
            raise ValueError(
                f"output.decision needs tiling.mode whole, got {self.tiling.mode}: a decision pools over the whole picture, "
                "and what is pooled over tiles is another answer"
            )
        if self.foreground is not None and self.tiling.mode == "whole":
            raise ValueError("foreground skips tiles, and a bundle of tiling.mode whole has none")
        if self.golden.tile_wh != self.tiling.frame_wh:
            raise ValueError(f"golden.tile_wh {self.golden.tile_wh} must be tiling.frame_wh {self.tiling.frame_wh}")
        return self
