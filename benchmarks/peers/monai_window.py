"""MONAI's ``sliding_window_inference`` around the same engine."""

from __future__ import annotations

from itertools import product
from typing import Any

from jetspect.benchmarks.peers.base import Contender, Job, Scores
from jetspect.errors import MissingDependencyError
from jetspect.runtime.engines.base import U8

BATCHES = (1, 4)
OVERLAPS = (0.0, 0.25)
_ROUNDING = 1e-6  # MONAI truncates tile x (1 - overlap) to px; one px less would leave the model's stride
_HALO_WEIGHT = 1e-4  # along each axis; not zero, since at the frame's edge no other window has a say


def candidates(job: Job) -> list[Contender]:
    """Return overlaps x blend modes x windows per run, and weights that leave the bundle's halo out.

    The weights are what somebody could do who knew the halo; MONAI has no means to find it.

    The frame goes in as a float tensor that keeps the image's memory layout, so that a window needs one copy on its way to
    the engine and not two; uint8 would make MONAI's own sums overflow.

    Raises
    ------
    MissingDependencyError
        MONAI or torch is not installed.
    """
    try:
        import torch
        from monai.inferers.utils import sliding_window_inference  # type: ignore[import-not-found]
    except ImportError as error:
        raise MissingDependencyError("monai", "the peer monai", "pip install 'jetspect[peers]'") from error

    def predict(windows: Any) -> Any:
        tiles = windows.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy()
        return torch.from_numpy(job.engine.run(tiles)).float()

    edge, halo = job.tile_px, job.halo_px
    along = torch.full((edge,), _HALO_WEIGHT)
    along[halo : edge - halo] = 1.0
    inside = torch.outer(along, along)[None, None]

    def contender(overlap: float, mode: str, batch: int, weights: Any = None) -> Contender:
        def score(image: U8) -> Scores:
            with torch.inference_mode():
                frame = torch.from_numpy(image.reshape(*image.shape[:2], -1)).permute(2, 0, 1)[None].float()
                answer = sliding_window_inference(
                    frame,
                    (edge, edge),
                    batch,
                    predict,
                    overlap=max(0.0, overlap - _ROUNDING),
                    mode=mode,
                    roi_weight_map=weights,
                )
            scores: Scores = answer[0].numpy()
            return scores

        how = mode if weights is None else "weights of the bundle's halo"
        return Contender("MONAI", f"overlap {overlap:.0%}, {how}, {batch} windows a run", score)

    found = []
    for overlap, mode, batch in product(job.overlaps(*OVERLAPS), ("constant", "gaussian"), BATCHES):
        if overlap or mode == "constant":  # without overlap there is nothing to blend
            found.append(contender(overlap, mode, batch))
    if halo:
        found += [contender(job.exact_overlap, "constant", batch, inside) for batch in BATCHES]
    return found
