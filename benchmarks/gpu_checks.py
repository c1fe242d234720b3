"""Does this GPU give the reference's answers? Each check is one line of the self-test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from jetspect.benchmarks.shapes import SHAPES, comb, part
from jetspect.errors import JetspectError
from jetspect.runtime.cuda.base import Buffer, Cuda
from jetspect.runtime.engines.base import EngineInfo
from jetspect.runtime.manifest import ClassSpec, OutputContract, TilingContract
from jetspect.runtime.postprocess.cuda import ComponentFinder, pitch_of
from jetspect.runtime.postprocess.reference import Component, find_components
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring_cuda import CudaMapper

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Check:
    """One question and its answer; ``told`` says what was compared, or what went wrong."""

    name: str
    ok: bool
    told: str


class PassThrough:
    """An engine that answers grey tiles with themselves: what comes out of the stitching is what went into it."""

    dynamic = False
    decisions = None

    def __init__(self, cuda: Cuda, batch: int, tile_px: int) -> None:
        self.cuda = cuda
        self.info = EngineInfo("pass-through", "1", str(cuda.info), "uint8")
        self.tile_shape = batch, tile_px, tile_px, 1
        self.tiles = self.scores = cuda.alloc(batch * tile_px * tile_px)

    def enqueue(self) -> None:
        """The tiles are the scores already."""

    def run(self, tiles: U8) -> U8:
        return tiles[..., 0][:, None]

    def close(self) -> None:
        self.cuda.free(self.tiles)

    def __enter__(self) -> PassThrough:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def contract(connectivity: int, open_px: int = 0, close_px: int = 0, threshold: float = 0.8) -> OutputContract:
    """Return rules for one class: it grows to 0.4 around pixels of at least ``threshold``."""
    spec = ClassSpec(name="defect", threshold=threshold, threshold_low=0.4, min_area_px=1)
    return OutputContract.model_validate(
        {"classes": [spec], "connectivity": connectivity, "open_px": open_px, "close_px": close_px}
    )


def tiling(tile_px: int, halo_px: int, mode: str = "exact") -> TilingContract:
    """Return a contract of tiles with a stride of 16 px."""
    return TilingContract.model_validate(
        {"mode": mode, "stride_px": 16, "halo_px": halo_px, "halo_error": 0.0, "tile_px": tile_px}
    )


def put_map(cuda: Cuda, scores: U8) -> Buffer:
    """Bring a score map to the device, its rows as far apart as the kernels want them."""
    height, width = scores.shape
    padded = np.zeros((height, pitch_of(width)), np.uint8)
    padded[:, :width] = scores
    buffer = cuda.alloc(padded.nbytes)
    cuda.upload(buffer, padded)
    cuda.synchronise()
    return buffer


def check_components(cuda: Cuda, scores: U8, output: OutputContract) -> str:
    """Compare every component of a map with the reference's, to the pixel; return what was compared."""
    buffer = put_map(cuda, scores)
    finder = ComponentFinder(cuda, (scores.shape[0], scores.shape[1]))
    try:
        found, _ = finder.find(buffer, 0, output)
    finally:
        finder.close()
        cuda.free(buffer)
    expected = find_components(scores[None], output)
    if [facts(c) for c in found] != [facts(c) for c in expected]:
        raise JetspectError(f"{len(found)} components, the reference has {len(expected)}, or their pixels differ")
    return f"{len(expected)} components, every pixel and sum the same"


def facts(component: Component) -> tuple[object, ...]:
    """Return all that a component is, for comparison."""
    c = component
    return c.class_index, c.box_yxyx, c.area_px, c.sum_x, c.sum_y, c.sum_score, c.peak, c.bitmap.tobytes()


def check_stitching(cuda: Cuda, frame_hw: tuple[int, int], tile_px: int, batch: int) -> str:
    """Cut a random frame and put it together again; return what was compared."""
    frame = np.random.default_rng(0).integers(0, 256, frame_hw, dtype=np.uint8)
    with PassThrough(cuda, batch, tile_px) as engine:
        mapper = CudaMapper(tiling(tile_px, 16), 1, 1, engine, TilingSettings(batch=batch))
        grid, _ = mapper.score(frame)
        wrong = int((mapper.download()[0] != frame).sum())
        mapper.close()
    if wrong:
        raise JetspectError(f"{wrong} of {frame.size} px came back changed")
    return f"{len(grid.tiles)} tiles, every pixel came back"


def checks_of(cuda: Cuda, frame_hw: tuple[int, int], tile_px: int, batch: int) -> dict[str, Callable[[], str]]:
    """Return the checks of kernels by name; each returns what was compared, or raises what is wrong."""
    height, width = frame_hw
    todo: dict[str, Callable[[], str]] = {}

    def components(name: str, make: Callable[[], U8], rules: OutputContract) -> None:
        todo[f"components of {name}"] = lambda: check_components(cuda, make(), rules)

    for neighbours in (4, 8):
        rules = contract(neighbours)
        for name, make in SHAPES.items():
            components(f"{name}, {neighbours} neighbours", make, rules)
        wide = f"a comb of {width} px, {neighbours} neighbours"
        components(wide, lambda: comb(9, width, joined="below"), rules)
    for reach in (1, 15):
        components(f"a part opened and closed by {reach} px", lambda: part(700, 900), contract(8, reach, reach))
    components(f"a part of {width} x {height} px", lambda: part(*frame_hw), contract(8, 0, 2))
    components(f"{width} x {height} px all alike", lambda: np.full(frame_hw, 255, np.uint8), contract(8))
    todo[f"tiles of {tile_px} px of {width} x {height} px"] = lambda: check_stitching(cuda, frame_hw, tile_px, batch)
    return todo


def run_check(name: str, work: Callable[[], str]) -> Check:
    """Run one check; one that fails does not stop the others."""
    try:
        return Check(name, True, work())
    except JetspectError as error:
        return Check(name, False, str(error))
