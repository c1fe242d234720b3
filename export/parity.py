"""Does the ONNX graph give the same answer as the PyTorch model? Measured on real tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from jetspect.errors import ExportError
from jetspect.export.geometry import Score
from jetspect.runtime.manifest import GoldenTolerance, Parity, Precision

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
# Levels of 255 that a correct engine may be off: FP32 by rounding at the edge of a level, FP16 by its arithmetic.
TOLERANCES: dict[Precision, GoldenTolerance] = {
    "fp32": GoldenTolerance(max_levels=2, mean_levels=0.05),
    "fp16": GoldenTolerance(max_levels=8, mean_levels=0.5),
}
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
MAX_ABS = {"fp32": 1e-3, "fp16": 2e-2}
MIN_IOU = {"fp32": 0.999, "fp16": 0.99}


def float_scorer(graph: bytes) -> Score:
    """Run a graph with float output (:func:`~jetspect.export.graph.float_twin`) on ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def score(tiles: U8) -> F32:
        answer: F32 = session.run(None, {name: np.ascontiguousarray(tiles)})[0]
        return answer

    return score


def measure_parity(reference: Score, candidate: Score, tiles: U8, thresholds: Sequence[float]) -> Parity:
    """Compare two scorers on tiles uint8 N x T x T x C.

    ``mask_iou`` pools the masks at the high thresholds over all tiles; two empty masks agree.
    """
    largest, both, either = 0.0, 0, 0
    for index in range(len(tiles)):
        expected, got = reference(tiles[index : index + 1])[0], candidate(tiles[index : index + 1])[0]
        largest = max(largest, float(np.abs(expected - got).max()))
        for k, threshold in enumerate(thresholds):
            a, b = expected[k] >= threshold, got[k] >= threshold
            both += int(np.count_nonzero(a & b))
            either += int(np.count_nonzero(a | b))
    return Parity(tiles=len(tiles), max_abs=largest, mask_iou=both / either if either else 1.0)


def require_parity(parity: Parity, precision: str) -> None:
    """Raise ExportError where a graph is further from the model than its precision explains."""
    decision = parity.decision_max_abs or 0.0
    if not max(parity.max_abs, decision) <= MAX_ABS[precision] or parity.mask_iou < MIN_IOU[precision]:
        also = f", decision by {decision:.2g}" if parity.decision_max_abs is not None else ""
        raise ExportError(
            f"the {precision} graph differs from the model: probability by {parity.max_abs:.2g}{also} (at most "
            f"{MAX_ABS[precision]:g}), mask IoU {parity.mask_iou:.4f} (at least {MIN_IOU[precision]}) on {parity.tiles} "
            "tiles; nothing was written. Does the model behave differently in training and evaluation mode?"
        )
