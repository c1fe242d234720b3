from __future__ import annotations

import numpy as np
import pytest
from host_cuda import HostCuda

from jetspect.benchmarks.gpu_checks import PassThrough, contract, put_map, tiling
from jetspect.benchmarks.shapes import checkerboard
from jetspect.errors import EngineError
from jetspect.runtime.cuda.base import Buffer
from jetspect.runtime.cuda.memory import Memory
from jetspect.runtime.postprocess.cuda import ComponentFinder
from jetspect.runtime.region import TilingSettings
from jetspect.runtime.scoring_cuda import CudaMapper


def test_what_was_made_together_goes_together() -> None:
    cuda = HostCuda(memory_bytes=1000)
    memory = Memory(cuda)
    kept, early = memory.alloc(100), memory.alloc(200)
    memory.host((10, 10), np.uint8)
    memory.free(early)
    assert cuda.free_bytes() == 1000 - kept.nbytes - 100
    for _ in range(2):
        memory.close()
        assert cuda.free_bytes() == 1000


class Stubborn(HostCuda):
    """A device that does not take one buffer back."""

    kept = 0

    def free(self, buffer: Buffer) -> None:
        if buffer.address == self.kept:
            raise EngineError("not that one")
        super().free(buffer)


def test_one_that_cannot_go_does_not_keep_the_others() -> None:
    cuda = Stubborn(memory_bytes=1000)
    memory = Memory(cuda)
    cuda.kept = memory.alloc(10).address
    memory.alloc(20)
    memory.alloc(30)
    with pytest.raises(EngineError, match="not that one"):
        memory.close()
    assert cuda.free_bytes() == 990


@pytest.mark.parametrize("short", range(100_000, 34_000_000, 1_500_000))
def test_too_little_memory_leaves_nothing_behind(short: int) -> None:
    """Whichever allocation fails: the next try finds as much memory as the one before."""
    cuda = HostCuda(memory_bytes=short)
    for _ in range(2):
        with pytest.raises(EngineError, match="bytes left"):
            ComponentFinder(cuda, (2000, 2000))
        assert cuda.free_bytes() == short


def test_a_larger_frame_that_does_not_fit_leaves_the_smaller_one_working() -> None:
    cuda = HostCuda(memory_bytes=400_000)
    mapper = CudaMapper(tiling(96, 16), 1, 1, PassThrough(cuda, 1, 96), TilingSettings())
    small = np.random.default_rng(0).integers(0, 256, (200, 180), dtype=np.uint8)
    colour = np.repeat(small[:, :, None], 3, axis=2)
    large = np.zeros((900, 900), np.uint8)
    for image in (small, large, small, colour, small):
        if image is large:
            with pytest.raises(EngineError, match="bytes left"):
                mapper.score(image)
        else:
            mapper.score(image)
            assert (mapper.download()[0] == small).all()
    mapper.close()
    assert cuda.free_bytes() == 400_000 - 96 * 96


def test_a_frame_with_too_many_components_for_the_memory_does_not_spoil_the_next() -> None:
    cuda = HostCuda(memory_bytes=12_000_000)
    many, few = checkerboard(80, 80), np.zeros((80, 80), np.uint8)
    few[3:9, 40:44] = 255
    maps = {name: put_map(cuda, scores) for name, scores in (("many", many), ("few", few))}
    finder = ComponentFinder(cuda, (80, 80), places=4)
    room = cuda.alloc(cuda.free_bytes() - 1000)
    for _ in range(2):
        with pytest.raises(EngineError, match="bytes left"):
            finder.find(maps["many"], 0, contract(4))
        found, _ = finder.find(maps["few"], 0, contract(4))
        assert [(c.area_px, c.bitmap.all()) for c in found] == [(24, True)]
    cuda.free(room)
    assert len(finder.find(maps["many"], 0, contract(4))[0]) == 3200
