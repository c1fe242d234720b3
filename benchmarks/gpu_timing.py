"""How long the stages around the engine take on this GPU, beside the time that moving their bytes takes at least.

Bandwidths are measured in the same run: copies from page-locked memory to the device, and copies on the device (which read and
write every byte). A stage's floor is the bytes that it cannot avoid to move, at those rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

from jetspect.benchmarks.gpu_checks import PassThrough, contract, put_map, tiling
from jetspect.benchmarks.shapes import part
from jetspect.runtime.cuda.base import Cuda
from jetspect.runtime.postprocess.cuda import ComponentFinder, pitch_of
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring_cuda import CudaMapper

MEGA = 1e6


@dataclass(frozen=True)
class StageTime:
    """Median time of one stage of a frame, and its floor."""

    name: str
    ms: float
    floor_ms: float

    @property
    def times_floor(self) -> float:
        return self.ms / self.floor_ms if self.floor_ms else float("nan")


@dataclass(frozen=True)
class Timing:
    """The stages of one frame, and the rates (bytes moved per second, reads and writes counted) that the floors come from."""

    frame_wh: tuple[int, int]
    tile_px: int
    tiles: int
    runs: int
    upload_gb_s: float
    device_gb_s: float
    mapped: bool
    stages: tuple[StageTime, ...]

    @property
    def total(self) -> StageTime:
        return StageTime("all", sum(s.ms for s in self.stages), sum(s.floor_ms for s in self.stages))

    def as_dict(self) -> dict[str, Any]:
        rows = [asdict(s) | {"times_floor": s.times_floor} for s in (*self.stages, self.total)]
        return asdict(self) | {"stages": rows}


def time_stages(cuda: Cuda, frame_hw: tuple[int, int], tile_px: int, batch: int, runs: int) -> Timing:
    """Time upload, gathering, scattering and the search for components of a grey frame, uint8 H x W.

    The engine between them passes its tiles through and takes no time. The frame lies in the memory that the mapper gives for
    it, as a camera's would.
    """
    height, width = frame_hw
    with PassThrough(cuda, batch, tile_px) as engine:
        mapper = CudaMapper(tiling(tile_px, min(96, tile_px // 64 * 16)), 1, 1, engine, TilingSettings(batch=batch))
        frame = mapper.host_frame(frame_hw)
        frame[:] = np.random.default_rng(0).integers(0, 256, frame_hw, dtype=np.uint8)
        upload_s, device_s = _rates(cuda, frame.nbytes, runs)
        spent = []
        for _ in range(runs + 1):
            grid, stages = mapper.score(frame)
            cuda.synchronise()
            spent.append(stages.spent_ms())
        mapper.close()
    find_ms = _time_finding(cuda, frame_hw, runs)
    upload, gather, _, scatter = (median(s[i] for s in spent[1:]) for i in range(4))
    frame_bytes, tile_bytes = height * width, len(grid.tiles) * tile_px * tile_px
    map_bytes = height * pitch_of(width)
    mapped = cuda.info.integrated
    rows = (
        StageTime("upload", upload, 0.0 if mapped else 1e3 * frame_bytes / upload_s),
        StageTime("gather", gather, 1e3 * (frame_bytes + tile_bytes) / device_s),
        StageTime("scatter", scatter, 1e3 * (frame_bytes + map_bytes) / device_s),
        StageTime("find", find_ms, 1e3 * map_bytes / device_s),
    )
    return Timing((width, height), tile_px, len(grid.tiles), runs, upload_s / 1e9, device_s / 1e9, mapped, rows)


def _rates(cuda: Cuda, nbytes: int, runs: int) -> tuple[float, float]:
    """Return bytes per second from the host to the device, and on the device (reads and writes counted)."""
    host, _ = cuda.host((nbytes,), np.uint8)
    one, other = cuda.alloc(nbytes), cuda.alloc(nbytes)
    upload = _median_ms(cuda, runs, lambda: cuda.upload(one, host))
    inside = _median_ms(cuda, runs, lambda: cuda.copy(other, one))
    cuda.free(one)
    cuda.free(other)
    cuda.free_host(host)
    return 1e3 * nbytes / upload, 2e3 * nbytes / inside


def _time_finding(cuda: Cuda, frame_hw: tuple[int, int], runs: int) -> float:
    scores = put_map(cuda, part(*frame_hw))
    finder, output = ComponentFinder(cuda, frame_hw), contract(8, 0, 1)
    found = _median_ms(cuda, runs, lambda: finder.find(scores, 0, output))
    finder.close()
    cuda.free(scores)
    return found


def _median_ms(cuda: Cuda, runs: int, work: Callable[[], object]) -> float:
    spent = []
    for _ in range(runs + 1):  # the first one warms up
        start = cuda.mark()
        work()
        spent.append(cuda.mark().ms_since(start))
    return median(spent[1:])
