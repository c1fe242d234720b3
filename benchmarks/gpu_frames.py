"""Whole frames through the GPU's detector beside the processor's: every way of cutting, putting together and limiting."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from jetspect.benchmarks.gpu_checks import contract, facts, tiling
from jetspect.errors import JetspectError
from jetspect.runtime.cuda.base import Cuda
from jetspect.runtime.detector import HostDetector
from jetspect.runtime.detector_cuda import CudaDetector
from jetspect.runtime.engines.base import EngineInfo
from jetspect.runtime.foreground import ForegroundMask
from jetspect.runtime.manifest import InputContract, Manifest
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring import ScoreMapper

U8 = npt.NDArray[np.uint8]
CLASSES = 2


class Mixer:
    """An engine whose scores are computed on the processor: class k scores its tile's first channel, shifted by 64 k."""

    dynamic = False
    decisions = None

    def __init__(self, cuda: Cuda, tile_shape: tuple[int, int, int, int]) -> None:
        n, h, w, _ = tile_shape
        self.cuda, self.tile_shape, self._scores_shape = cuda, tile_shape, (n, CLASSES, h, w)
        self.info = EngineInfo("mixer", "1", str(cuda.info), "uint8")
        self.tiles, self.scores = cuda.alloc(int(np.prod(tile_shape))), cuda.alloc(int(np.prod(self._scores_shape)))

    def run(self, tiles: U8) -> U8:
        first = tiles[..., 0]
        return np.ascontiguousarray(np.stack([first + np.uint8(64 * k) for k in range(CLASSES)], axis=1))

    def enqueue(self) -> None:
        tiles = np.empty(self.tile_shape, np.uint8)
        self.cuda.download(tiles, self.tiles)
        self.cuda.synchronise()
        self.cuda.upload(self.scores, self.run(tiles))

    def close(self) -> None:
        self.cuda.free(self.tiles)
        self.cuda.free(self.scores)

    def __enter__(self) -> Mixer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_frames(cuda: Cuda, mode: str, channels: int) -> str:
    """Inspect random frames, grey and in colour, of changing sizes, with and without a region and a foreground."""
    rng = np.random.default_rng(0)
    rules = contract(8, 0, 1)
    classes = tuple(rules.classes[0].model_copy(update={"name": f"defect-{k}"}) for k in range(CLASSES))
    order: Any = "GREY" if channels == 1 else "BGR"
    parts: dict[str, Any] = {
        "tiling": tiling(96, 16, mode),
        "input": InputContract(channels=1 if channels == 1 else 3, colour_order=order, mean=(), std=()),
        "output": rules.model_copy(update={"classes": classes}),
    }
    manifest = Manifest.model_construct(**parts)  # only these say how frames are searched
    compared = 0
    with Mixer(cuda, (2, 96, 96, channels)) as engine:
        for region in (None, (20, 30, 150, 190)):
            settings = TilingSettings(batch=2, roi_xyxy=region)
            host = HostDetector(ScoreMapper(manifest, engine, settings), manifest.output)
            device = CudaDetector(manifest, engine, settings)
            try:
                for shape in ((230, 170), (230, 170, 3), (201, 333, 3)):
                    for masked in (False, True):
                        image = rng.integers(0, 256, shape, dtype=np.uint8)
                        compared += _compare(host, device, image, _mask(rng, image) if masked else None)
            finally:
                device.close()
    return f"{compared} components of 12 frames, every score and pixel the same"


def _compare(host: HostDetector, device: CudaDetector, image: U8, mask: ForegroundMask | None) -> int:
    expected, got = host.detect(image, mask), device.detect(image, mask)
    size = f"{image.shape[1]} x {image.shape[0]} px"
    wrong = int((device.score_map() != host.score_map()).sum())
    if wrong:
        raise JetspectError(f"{wrong} scores of a frame of {size} differ")
    if [facts(c) for c in got.components] != [facts(c) for c in expected.components]:
        raise JetspectError(f"the components of a frame of {size} differ")
    return len(got.components)


def _mask(rng: np.random.Generator, image: U8) -> ForegroundMask:
    blocks = np.where(rng.random((image.shape[0] // 8, image.shape[1] // 8)) < 0.3, 255, 0).astype(np.uint8)
    return ForegroundMask(blocks, blocks, 8, (image.shape[0], image.shape[1]))
