"""Prove the graphs of a model that runs on tiles, and measure how its tiles fit together."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from jetspect.errors import ExportError
from jetspect.export.geometry import Score, accepted_stride, tiling_contract
from jetspect.export.graph import TileGraph, float_twin, fold_batch_norm, pools_globally, to_onnx
from jetspect.export.job import ExportJob
from jetspect.export.parity import (
    MAX_ABS,
    PRECISIONS,
    float_scorer,
    golden_tolerance,
    measure_parity,
    require_parity,
)
from jetspect.export.proof import Proof, ProvenGraph
from jetspect.export.typed import to_half
from jetspect.export.whole import torch_answers
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.manifest import GoldenTolerance, Precision, TilingContract

U8 = npt.NDArray[np.uint8]


def prove_tiles(job: ExportJob, report: Callable[[str], None]) -> Proof:
    """Export the graphs of a stage and prove each against the model.

    Raises
    ------
    ExportError
        The model does not answer scores of the tile's size, or a graph differs from it.
    """
    report("checking the model")
    reference = torch_score(job)
    stride = accepted_stride(reference, job.channels)
    _check_answer(job, reference, stride)
    folded = fold_batch_norm(copy.deepcopy(job.model).eval())
    report("exporting")
    fp32 = _trace(job, folded, stride)
    graphs: dict[Precision, ProvenGraph] = {}
    for precision in PRECISIONS:
        report(f"proving {precision}")
        graphs[precision] = _prove(job, fp32, reference, precision)
    golden = {"tiles": job.golden_set, "scores": _golden_scores(job, graphs["fp32"].data)}
    return Proof(stride, graphs, golden)


def measure_tiling(job: ExportJob, proof: Proof) -> TilingContract:
    """Measure stride and halo on the FP32 graph (:func:`~jetspect.export.geometry.tiling_contract`)."""
    fp32 = proof.graphs["fp32"].data
    score, pools = float_scorer(float_twin(fp32)), pools_globally(fp32)
    return tiling_contract(score, job.texture, proof.stride_px, tile_px=job.tile_px, pools=pools)


def torch_score(job: ExportJob) -> Score:
    """Return the PyTorch model as a scorer: uint8 tiles (or whole frames) in, probabilities out."""
    if job.frame_wh is not None:
        answers = torch_answers(job)
        return lambda frames: answers(frames)[0]
    own = copy.deepcopy(job.model)
    graph = TileGraph(own, job.mean, job.std, activation=job.activation, as_float=True).eval()

    @torch.no_grad()
    def score(tiles: U8) -> npt.NDArray[np.float32]:
        answer: npt.NDArray[np.float32] = graph(torch.from_numpy(tiles)).numpy()
        return answer

    return score


def _trace(job: ExportJob, model: nn.Module, stride: int) -> bytes:
    graph = TileGraph(copy.deepcopy(model), job.mean, job.std, activation=job.activation).eval()
    try:
        return to_onnx(graph, channels=job.channels, stride_px=stride)
    except ExportError as error:
        raise ExportError(f"fp32: {error}") from error


def _prove(job: ExportJob, fp32: bytes, reference: Score, precision: Precision) -> ProvenGraph:
    try:
        data = to_half(fp32) if precision == "fp16" else fp32
        # Parity is measured on probabilities; the stored graph differs from its twin by its rounding alone.
        score = float_scorer(float_twin(data))
    except ExportError as error:
        raise ExportError(f"{precision}: {error}") from error
    parity = measure_parity(reference, score, job.tiles, [c.threshold for c in job.classes])
    require_parity(parity, precision, fp16_max_abs=getattr(job.model, "fp16_max_abs", MAX_ABS["fp16"]))
    _check_rounding(data, score, job.golden_set, precision, golden_tolerance(precision, parity))
    return ProvenGraph(data, parity)


def _check_answer(job: ExportJob, score: Score, stride: int) -> None:
    edge, classes = job.tiles.shape[1], len(job.classes)
    if job.tile_px is not None and job.tile_px % stride:
        raise ExportError(f"tile {job.tile_px} px must be a multiple of the stride {stride}")
    if edge % stride:
        raise ExportError(f"tiles of {edge} px do not fit the model: it takes multiples of {stride} px")
    answer = score(job.tiles[:1])
    if answer.shape != (1, classes, edge, edge):
        raise ExportError(
            f"the model answers {answer.shape} for a tile of {edge} px; (1, {classes}, {edge}, {edge}) is needed "
            f"for the {classes} classes given"
        )


def _check_rounding(graph: bytes, score: Score, tiles: U8, precision: Precision, tolerance: GoldenTolerance) -> None:
    """The stored graph must give the probabilities of its float twin in 255 levels, rounded to the nearest."""
    with OnnxRuntimeEngine(graph, precision=precision) as engine:
        got = engine.run(np.ascontiguousarray(tiles)).astype(np.float32)
    off = float(np.abs(got - 255 * score(tiles)).max())
    # Half a level is rounding; the twin may be fused otherwise, which moves a score across the edge of a level.
    if off > 0.5 + tolerance.max_levels:
        raise ExportError(f"the {precision} graph rounds wrongly: its scores are off by {off:.1f} of 255 levels")


def _golden_scores(job: ExportJob, graph: bytes) -> U8:
    with OnnxRuntimeEngine(graph) as engine:
        tiles = job.golden_set
        return np.concatenate([engine.run(tiles[i : i + 1]).copy() for i in range(len(tiles))])
