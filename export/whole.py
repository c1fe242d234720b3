"""Prove the graphs of a model that sees whole frames and decides: mask and decision, on real frames of its one size.

There is no halo to measure: such a model is never cut into tiles.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from torch import nn

from jetspect.errors import ExportError
from jetspect.export.geometry import F32, MIN_CONTRAST, U8
from jetspect.export.graph import FrameGraph, float_twin, fold_batch_norm, to_onnx
from jetspect.export.job import ExportJob
from jetspect.export.parity import PRECISIONS, golden_tolerance, measure_parity, require_parity
from jetspect.export.proof import Proof, ProvenGraph
from jetspect.export.typed import to_half
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.manifest import GoldenTolerance, Parity, Precision, TilingContract

Answer = tuple[F32, F32]
FrameScore = Callable[[U8], Answer]
"""uint8 N x H x W x C -> probabilities N x K x H x W and N x 1."""


def prove_whole(job: ExportJob, frame_wh: tuple[int, int], report: Callable[[str], None]) -> Proof:
    """Export and prove the graphs of a model that sees frames of ``frame_wh`` px. FP16 is left out where it is too far off.

    Raises
    ------
    ExportError
        The model does not answer a mask and a decision, or its FP32 graph differs from it.
    """
    report("checking the model")
    reference = torch_answers(job)
    stride = _check_answer(job, frame_wh, reference)
    expected = [reference(job.tiles[i : i + 1]) for i in range(len(job.tiles))]
    model = fold_batch_norm(copy.deepcopy(job.model).eval())
    graphs: dict[Precision, ProvenGraph] = {}
    left_out: dict[str, str] = {}
    report("exporting")
    fp32 = _trace(job, frame_wh, model)
    for precision in PRECISIONS:
        report(f"proving {precision}")
        try:
            graphs[precision] = _prove(job, fp32, expected, precision)
        except ExportError as error:
            if precision == "fp32":
                raise
            left_out[precision] = str(error)
            report(f"no {precision} graph: {error}")
    return Proof(stride, graphs, _golden(job, graphs["fp32"].data), left_out)


def whole_contract(frame_wh: tuple[int, int], proof: Proof) -> TilingContract:
    """Return the contract that says: never tiled."""
    return TilingContract(
        mode="whole", stride_px=proof.stride_px, halo_px=0, halo_error=0.0, tile_px=max(frame_wh), frame_wh=frame_wh
    )


def torch_answers(job: ExportJob) -> FrameScore:
    """Return the PyTorch model as a scorer of frames."""
    graph = _wrap(job, job.model, as_float=True)

    @torch.no_grad()
    def score(frames: U8) -> Answer:
        mask, decision = graph(torch.from_numpy(frames))
        return mask.numpy(), decision.numpy()

    return score


def graph_answers(twin: bytes) -> FrameScore:
    """Run a frame graph with float outputs (:func:`~jetspect.export.graph.float_twin`) on ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as float_scorer
    session = onnxruntime.InferenceSession(twin, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def score(frames: U8) -> Answer:
        mask, decision = session.run(None, {name: np.ascontiguousarray(frames)})
        return mask, decision

    return score


def _wrap(job: ExportJob, model: nn.Module, *, as_float: bool = False) -> FrameGraph:
    own = copy.deepcopy(model)
    return FrameGraph(own, job.mean, job.std, activation=job.activation, as_float=as_float).eval()


def _check_answer(job: ExportJob, frame_wh: tuple[int, int], score: FrameScore) -> int:
    """Return the stride of the mask after checking what the model answers on the golden frames."""
    width, height = frame_wh
    frames, classes = job.golden_set, len(job.classes)
    with torch.no_grad():
        try:
            raw = copy.deepcopy(job.model).eval()(torch.zeros(2, job.channels, height, width))
        except Exception as error:  # whatever a user's model raises means: not this size
            line = next((x for x in str(error).splitlines() if x.strip()), type(error).__name__)
            raise ExportError(f"the model takes no frame of {width} x {height} px: {line.strip()[:200]}") from error
    shapes = [tuple(x.shape) for x in raw] if isinstance(raw, tuple) else []
    stride = height // shapes[0][2] if len(shapes) == 2 and len(shapes[0]) == 4 else 0
    fits = bool(stride) and not (height % stride or width % stride)
    if not fits or shapes != [(2, classes, height // stride, width // stride), (2, 1)]:
        said = shapes or type(raw).__name__
        raise ExportError(
            f"the model answers {said} for two frames of {width} x {height} px; a mask 2 x {classes} x {height}/s x {width}/s "
            f"and a decision 2 x 1 are needed for the {classes} classes given"
        )
    answers = [score(frames[i : i + 1]) for i in range(len(frames))]
    values = [np.stack([a[k] for a in answers]) for k in (0, 1)]
    if not all(np.isfinite(v).all() for v in values):
        raise ExportError(
            "the model answers NaN or infinity on a real frame; do mean, std and weights belong together?"
        )
    if max(float(np.ptp(v)) for v in values) < MIN_CONTRAST:
        raise ExportError(
            f"the model answers the same everywhere (mask about {float(values[0].mean()):.3g}, decision about "
            f"{float(values[1].mean()):.3g}), so its graphs cannot be proven; give frames that show defects, and check "
            "mean, std and the weights"
        )
    return int(stride)


def _trace(job: ExportJob, frame_wh: tuple[int, int], model: nn.Module) -> bytes:
    try:
        return to_onnx(_wrap(job, model), channels=job.channels, frame_wh=frame_wh)
    except ExportError as error:
        raise ExportError(f"fp32: {error}") from error


def _prove(job: ExportJob, fp32: bytes, expected: list[Answer], precision: Precision) -> ProvenGraph:
    try:
        data = to_half(fp32) if precision == "fp16" else fp32
        score = graph_answers(float_twin(data))
    except ExportError as error:
        raise ExportError(f"{precision}: {error}") from error
    parity = _parity(job, expected, score)
    require_parity(parity, precision)
    _check_rounding(data, score, job.golden_set, precision, golden_tolerance(precision, parity))
    return ProvenGraph(data, parity)


def _parity(job: ExportJob, expected: list[Answer], candidate: FrameScore) -> Parity:
    """Measure the masks as for tiles, and how far the decisions on the same frames are apart."""
    got = [candidate(job.tiles[i : i + 1]) for i in range(len(job.tiles))]
    ours, theirs = iter(expected), iter(got)
    thresholds = [c.threshold for c in job.classes]
    parity = measure_parity(lambda _: next(ours)[0], lambda _: next(theirs)[0], job.tiles, thresholds)
    off = max(float(np.abs(a[1] - b[1]).max()) for a, b in zip(expected, got, strict=True))
    return parity.model_copy(update={"decision_max_abs": off})


def _check_rounding(
    graph: bytes, score: FrameScore, frames: U8, precision: Precision, tolerance: GoldenTolerance
) -> None:
    """The stored graph must give the probabilities of its float twin in 255 levels, rounded to the nearest."""
    off = 0.0
    with OnnxRuntimeEngine(graph, precision=precision) as engine:
        for i in range(len(frames)):
            got = engine.run(frames[i : i + 1])
            for stored, p in zip((got, engine.decisions), score(frames[i : i + 1]), strict=True):
                assert stored is not None  # a frame graph has both outputs
                off = max(off, float(np.abs(stored - 255 * p).max()))
    # Half a level is rounding; the twin may be fused otherwise, which moves a score across the edge of a level.
    if off > 0.5 + tolerance.max_levels:
        raise ExportError(f"the {precision} graph rounds wrongly: its scores are off by {off:.1f} of 255 levels")


def _golden(job: ExportJob, graph: bytes) -> dict[str, U8]:
    frames = job.golden_set
    scores, decisions = [], []
    with OnnxRuntimeEngine(graph) as engine:
        for i in range(len(frames)):
            scores.append(engine.run(frames[i : i + 1]).copy())
            assert engine.decisions is not None
            decisions.append(engine.decisions.copy())
    return {"tiles": frames, "scores": np.concatenate(scores), "decisions": np.concatenate(decisions)}
