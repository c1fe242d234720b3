"""Does the ONNX graph give the same answer as the PyTorch model? Measured on real tiles."""

from __future__ import annotations

import math
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
_TIE = 1e-5


def float_scorer(graph: bytes) -> Score:
    """Run a graph with float output (:func:`~jetspect.export.graph.float_twin`) on ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin while they wait cost minutes on a machine that is busy with something else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def score(tiles: U8) -> F32:
        answer: F32 = session.run(None, {name: np.ascontiguousarray(tiles)})[0]
        return answer

    return score


def measure_parity(reference: Score, candidate: Score, tiles: U8, thresholds: Sequence[float]) -> Parity:
    """Compare two scorers on tiles uint8 N x T x T x C.

    ``mask_iou`` pools the masks at the high thresholds over all tiles; two empty masks agree. A pixel that lies on the
    threshold but for the rounding of FP32 is on neither side, and counts as agreed.
    """
    largest, both, either = 0.0, 0, 0
    for index in range(len(tiles)):
        expected, got = reference(tiles[index : index + 1])[0], candidate(tiles[index : index + 1])[0]
        largest = max(largest, float(np.abs(expected - got).max()))
        for k, threshold in enumerate(thresholds):
            a = expected[k] >= threshold
            b = np.where(np.abs(expected[k] - threshold) <= _TIE, a, got[k] >= threshold)
            both += int(np.count_nonzero(a & b))
            either += int(np.count_nonzero(a | b))
    return Parity(tiles=len(tiles), max_abs=largest, mask_iou=both / either if either else 1.0)


def require_parity(parity: Parity, precision: str, *, fp16_max_abs: float = MAX_ABS["fp16"]) -> None:
    """Raise ExportError where a graph is further from the model than its precision explains.

    Parameters
    ----------
    fp16_max_abs
        What FP16 may differ by. A model whose last steps are steep (PartsNet) turns rounding into larger differences at
        the edges of regions, and says so as its attribute of this name; its masks must agree all the same.
    """
    limit = fp16_max_abs if precision == "fp16" else MAX_ABS[precision]
    decision = parity.decision_max_abs or 0.0
    if not max(parity.max_abs, decision) <= limit or parity.mask_iou < MIN_IOU[precision]:
        also = f", decision by {decision:.2g}" if parity.decision_max_abs is not None else ""
        raise ExportError(
            f"the {precision} graph differs from the model: probability by {parity.max_abs:.2g}{also} (at most "
            f"{limit:g}), mask IoU {parity.mask_iou:.4f} (at least {MIN_IOU[precision]}) on {parity.tiles} "
            "tiles; nothing was written. Does the model behave differently in training and evaluation mode?"
        )


def golden_tolerance(precision: Precision, parity: Parity) -> GoldenTolerance:
    """Return the usual tolerance, wider where the proven graph itself was further off on real tiles."""
    usual = TOLERANCES[precision]
    off = max(parity.max_abs, parity.decision_max_abs or 0.0)
    return usual.model_copy(update={"max_levels": max(usual.max_levels, math.ceil(1.5 * 255 * off))})
