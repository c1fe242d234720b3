"""What ``jetspect bench tiles`` measures: tile size x batch x precision x engine, and what was found at each point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from pydantic import BaseModel, ConfigDict, Field

from jetspect.benchmarks.stats import STAGES
from jetspect.errors import InputError
from jetspect.runtime.manifest import Manifest, Precision
from jetspect.runtime.tiling import TileGrid, plan_tiles, round_up

USUAL_TILES = (256, 384, 512, 704, 1024, 1536)
QUICK_TILES = (384, 704, 1024)
_NOTICEABLE_MS = 0.1  # without a stage one there is still the time to see that there is none
MOST_BATCH = 64  # as the station's own settings


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Point(_Frozen):
    """One way to run a bundle."""

    tile_px: int
    batch: int
    precision: Precision
    engine: str

    def __str__(self) -> str:
        return f"{self.tile_px} px x {self.batch}, {self.precision}, {self.engine}"


class Conditions(_Frozen):
    """What all points of a run have in common; a point measured under others is measured again."""

    bundle: str = Field(description="Name and version")
    manifest_sha256: str
    size_wh: tuple[int, int]
    frames: int = Field(description="Measured ones, after the first")
    threads: int
    machine: str
    versions: dict[str, str]
    labels: str = Field("", description="Kind, folder and split of the labelled images")


class Accuracy(_Frozen):
    """On labelled images, through the same tiles; None where the images hold nothing to measure it on."""

    images: int
    iou: float | None
    object_recall: float | None


class Measured(_Frozen):
    """What one process found at one point."""

    point: Point
    conditions: Conditions
    engine: str = Field(description="What really ran")
    tiles: int
    pixel_factor: float = Field(description="Pixels through the network divided by pixels of the frame")
    stages_ms: dict[str, tuple[float, ...]] = Field(description="Every frame's times by stage, without the first frame")
    build_ms: float = Field(description="Opening and verifying the bundle, loading the engine, proving it")
    first_frame_ms: float
    host_peak_mb: float = Field(description="Of a process that does nothing else")
    host_before_mb: float = Field(description="The same before the engine was loaded: Python, libraries and one frame")
    device_mb: float | None = Field(
        None, description="GPU memory taken; None without one, or where it is the processor's"
    )
    joules: float | None = Field(None, description="Of the whole board while frames were measured; None without rails")
    load_average: float
    accuracy: Accuracy | None = None

    @property
    def megapixels(self) -> float:
        width, height = self.conditions.size_wh
        return width * height / 1e6

    @property
    def mp_per_s(self) -> float:
        total_ms = self.stages_ms["total"]
        return 1e3 * self.megapixels * len(total_ms) / sum(total_ms)

    @property
    def outside_engine(self) -> float:
        """Share of the frame's time that is not the engine's."""
        total, engine = sum(self.stages_ms["total"]), sum(self.stages_ms["engine"])
        return (total - engine) / total

    @property
    def joules_per_mp(self) -> float | None:
        frames = len(self.stages_ms["total"])
        return None if self.joules is None else self.joules / (frames * self.megapixels)

    @property
    def memory_mb(self) -> float:
        """What has to be there: host and device."""
        return self.host_peak_mb + (self.device_mb or 0.0)


def plan_points(
    manifest: Manifest,
    size_wh: tuple[int, int],
    *,
    tiles: Sequence[int] = (),
    batches: Sequence[int],
    precisions: Sequence[Precision],
    engines: Sequence[str],
    quick: bool = False,
) -> list[Point]:
    """Return the points to measure, cheap ones first.

    Parameters
    ----------
    tiles
        None: usual sizes, as far as the model takes them, and the bundle's own.

    Raises
    ------
    InputError
        A tile that breaks the model's rules, a batch out of range, or a bundle that sees whole frames.
    """
    if manifest.tiling.mode == "whole":
        raise InputError(
            f"bundle {manifest.name} sees whole frames: there is no tile to choose; measure it with jetspect bench graphs"
        )
    for batch in batches:
        if not 1 <= batch <= MOST_BATCH:
            raise InputError(f"a batch has 1 to {MOST_BATCH} tiles, got {batch}; correct --batches")
    if tiles:
        for tile in tiles:
            grid_of(manifest, size_wh, tile)
    chosen = sorted(set(tiles or _usual(manifest, size_wh, QUICK_TILES if quick else USUAL_TILES)))
    combined = product(dict.fromkeys(engines), dict.fromkeys(precisions), sorted(set(batches)), chosen)
    return [Point(tile_px=t, batch=b, precision=p, engine=e) for e, p, b, t in combined]


def grid_of(manifest: Manifest, size_wh: tuple[int, int], tile_px: int) -> TileGrid:
    """Return where the tiles of a frame lie; refuses a tile that breaks the model's rules."""
    rules = manifest.tiling
    frame_hw = (size_wh[1], size_wh[0])
    return plan_tiles(frame_hw, tile_px=tile_px, halo_px=rules.halo_px, stride_px=rules.stride_px)


def stages_of(timings: Sequence[dict[str, float]]) -> dict[str, tuple[float, ...]]:
    """Turn the times of frames into those of stages; stage one is left out where the model has none."""
    found = {name: tuple(t.get(name, 0.0) for t in timings) for name in STAGES}
    return {name: values for name, values in found.items() if name != "foreground" or max(values) >= _NOTICEABLE_MS}


def _usual(manifest: Manifest, size_wh: tuple[int, int], sizes: Sequence[int]) -> list[int]:
    """Return sizes that the model takes and that are no larger than the frame."""
    rules = manifest.tiling
    longest = round_up(max(size_wh), rules.stride_px)
    rounded = {round_up(size, rules.stride_px) for size in sizes} | {rules.tile_px}
    fitting = {min(size, longest) for size in rounded}
    return [size for size in fitting if size > 2 * rules.halo_px] or [rules.tile_px]
