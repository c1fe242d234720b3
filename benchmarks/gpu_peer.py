"""Labelling and statistics beside CuPy's, on the same map and device in one run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from statistics import median
from typing import Any

from jetspect.benchmarks.gpu_checks import contract, put_map
from jetspect.benchmarks.shapes import part
from jetspect.runtime.cuda.base import Cuda
from jetspect.runtime.postprocess.cuda import ComponentFinder
from jetspect.runtime.postprocess.reference import level_of


@dataclass(frozen=True)
class Peer:
    """Median times of the same work; both answers were compared first."""

    name: str
    ours_ms: float
    theirs_ms: float
    components: int

    @property
    def ratio(self) -> float:
        return self.theirs_ms / self.ours_ms


def against_cupy(cuda: Cuda, frame_hw: tuple[int, int], runs: int) -> Peer | None:
    """Time thresholding, labelling (8 neighbours), areas, peaks and boxes; None where CuPy is not installed.

    Theirs ends with areas, peaks and sums on the host; ours also brings boxes and the bitmap of every component.
    """
    if importlib.util.find_spec("cupy") is None:
        return None
    import cupy  # type: ignore[import-not-found]
    from cupyx.scipy import ndimage  # type: ignore[import-not-found]

    scores, output = part(*frame_hw), contract(8)
    low = level_of(output.classes[0].threshold_low)
    on_device = cupy.asarray(scores)
    square = cupy.ones((3, 3), cupy.int32)

    def theirs() -> tuple[int, Any]:
        labels, count = ndimage.label(on_device >= low, structure=square)
        each = cupy.arange(1, count + 1)
        areas = cupy.bincount(labels.ravel(), minlength=count + 1)[1:]
        sums = ndimage.sum_labels(on_device, labels, each)
        peaks = ndimage.maximum(on_device, labels, each)
        return count, (areas.get(), sums.get(), peaks.get())

    buffer, finder = put_map(cuda, scores), ComponentFinder(cuda, frame_hw)
    spent: tuple[list[float], list[float]] = ([], [])
    count = 0
    for _ in range(runs + 1):
        start = cuda.mark()
        finder.find(buffer, 0, output)
        spent[0].append(cuda.mark().ms_since(start))
        before, after = cupy.cuda.Event(), cupy.cuda.Event()
        before.record()
        count, _facts = theirs()
        after.record()
        after.synchronize()
        spent[1].append(float(cupy.cuda.get_elapsed_time(before, after)))
    finder.close()
    cuda.free(buffer)
    return Peer(f"CuPy {cupy.__version__}", median(spent[0][1:]), median(spent[1][1:]), count)
