"""Labelling and statistics beside CuPy's, on the same map and device in one run."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from statistics import median

from jetspect.benchmarks.gpu_checks import contract, put_map
from jetspect.benchmarks.shapes import part
from jetspect.runtime.cuda.base import Cuda
from jetspect.runtime.postprocess.cuda import ComponentFinder
from jetspect.runtime.postprocess.reference import Component, level_of


@dataclass(frozen=True)
class Peer:
    """Median times of the same work; ``same``: as many components, with the same areas, sums and peaks."""

    name: str
    same: bool
    ours_ms: float
    theirs_ms: float
    components: int

    @property
    def ratio(self) -> float:
        return self.theirs_ms / self.ours_ms


def against_cupy(cuda: Cuda, frame_hw: tuple[int, int], runs: int) -> Peer | None:
    """Time thresholding, labelling (8 neighbours), areas, sums and peaks; None where CuPy is not installed.

    Theirs ends with areas, peaks and sums on the host; ours also brings boxes and the bitmap of every component.
    """
    if importlib.util.find_spec("cupy") is None:
        return None
    import cupy  # type: ignore[import-not-found]
    from cupyx.scipy import ndimage  # type: ignore[import-not-found]

    scores, output = part(*frame_hw), contract(8, threshold=0.4)
    low = level_of(output.classes[0].threshold_low)
    on_device = cupy.asarray(scores)
    square = cupy.ones((3, 3), cupy.int32)

    def theirs() -> list[tuple[int, int, int]]:
        labels, count = ndimage.label(on_device >= low, structure=square)
        each = cupy.arange(1, count + 1)
        areas = cupy.bincount(labels.ravel(), minlength=count + 1)[1:]
        sums = ndimage.sum_labels(on_device, labels, each)
        peaks = ndimage.maximum(on_device, labels, each)
        facts = zip(areas.get().tolist(), sums.get().tolist(), peaks.get().tolist(), strict=True)
        return sorted((int(area), int(total), int(peak)) for area, total, peak in facts)

    buffer, finder = put_map(cuda, scores), ComponentFinder(cuda, frame_hw)
    spent: tuple[list[float], list[float]] = ([], [])
    found: list[Component] = []
    told: list[tuple[int, int, int]] = []
    for _ in range(runs + 1):
        start = cuda.mark()
        found, _ = finder.find(buffer, 0, output)
        spent[0].append(cuda.mark().ms_since(start))
        before, after = cupy.cuda.Event(), cupy.cuda.Event()
        before.record()
        told = theirs()
        after.record()
        after.synchronize()
        spent[1].append(float(cupy.cuda.get_elapsed_time(before, after)))
    finder.close()
    cuda.free(buffer)
    same = sorted((c.area_px, c.sum_score, c.peak) for c in found) == told
    return Peer(f"CuPy {cupy.__version__}", same, median(spent[0][1:]), median(spent[1][1:]), len(found))
