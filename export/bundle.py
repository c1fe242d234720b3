"""Write a bundle: export its graphs, measure how they tile, prove them, and put everything into one checksummed folder."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import nn

from jetspect import __version__
from jetspect.errors import ExportError
from jetspect.export.card import model_card
from jetspect.export.geometry import Score, accepted_stride, tiling_contract
from jetspect.export.graph import TileGraph, float_twin, fold_batch_norm, to_onnx
from jetspect.export.job import ExportJob, check_job
from jetspect.export.parity import PRECISIONS, TOLERANCES, float_scorer, measure_parity, require_parity
from jetspect.export.whole import ProvenGraph, prove_whole, torch_answers
from jetspect.export.writer import pack, refuse_to_lose, write_bundle
from jetspect.runtime.bundle import MANIFEST, Bundle
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.manifest import (
    DecisionSpec,
    GoldenSpec,
    GraphSpec,
    InputContract,
    Manifest,
    OutputContract,
    Precision,
    TilingContract,
)

__all__ = ["ExportJob", "export_bundle", "manifest_json"]
U8 = npt.NDArray[np.uint8]
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Graph(ProvenGraph):
    """The same with its float twin, on which tiling is measured."""

    score: Score


def export_bundle(job: ExportJob, out: Path, *, force: bool = False, report: Report = lambda _: None) -> Manifest:
    """Write a bundle to ``out``, whole or not at all.

    Raises
    ------
    ExportError
        ``out`` exists (without ``force``) or is no bundle, the model does not keep the contract, or a graph differs
        from the model.
    """
    refuse_to_lose(out, force=force)
    check_job(job)
    exported: Mapping[Precision, ProvenGraph]
    left_out: dict[str, str] = {}
    if job.frame_wh is not None:
        whole = prove_whole(job, job.frame_wh, report)
        stride, contract, exported, left_out = whole.contract.stride_px, whole.contract, whole.graphs, whole.left_out
        golden = whole.golden
    else:
        stride, graphs = _prove(job, report)
        report("measuring stride and halo")
        contract = tiling_contract(graphs["fp32"].score, job.texture, stride, tile_px=job.tile_px)
        exported = graphs
        golden = {"tiles": job.golden_set, "scores": _golden_scores(job, exported["fp32"].data)}
    files = {f"model.{precision}.onnx": graph.data for precision, graph in exported.items()}
    files["golden.npz"] = pack(**golden)
    manifest = _manifest(job, contract, exported)
    if job.measure is not None:
        report("measuring accuracy")
        draft = Bundle(out, {**files, MANIFEST: b""}, manifest, signature="draft")
        fp32 = manifest.graphs["fp32"].model_copy(update={"accuracy": job.measure(draft)})
        manifest = manifest.model_copy(update={"graphs": {**manifest.graphs, "fp32": fp32}})
    files[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    files["MODEL_CARD.md"] = model_card(manifest, job.notes, left_out).encode()
    files["report.json"] = _report(job, stride, exported, left_out)
    report("writing and verifying")
    write_bundle(files, out, force=force)
    return manifest


def _prove(job: ExportJob, report: Report) -> tuple[int, dict[Precision, _Graph]]:
    """Return the stride that the model accepts and its graphs, each proven against it."""
    report("checking the model")
    reference = torch_score(job)
    stride = accepted_stride(reference, job.channels)
    _check_answer(job, reference, stride)
    folded = fold_batch_norm(copy.deepcopy(job.model).eval())
    exported: dict[Precision, _Graph] = {}
    for precision in PRECISIONS:
        report(f"exporting {precision}")
        exported[precision] = _export(job, folded, reference, precision, stride)
    return stride, exported


def _export(job: ExportJob, model: nn.Module, reference: Score, precision: Precision, stride: int) -> _Graph:
    half = precision == "fp16"
    try:
        data = to_onnx(_wrap(job, model, half=half), channels=job.channels, stride_px=stride)
        # Parity is measured on probabilities; the stored graph differs from its twin by its rounding alone.
        score = float_scorer(float_twin(data))
    except ExportError as error:
        raise ExportError(f"{precision}: {error}") from error
    parity = measure_parity(reference, score, job.tiles, [c.threshold for c in job.classes])
    require_parity(parity, precision)
    _check_rounding(data, score, job.golden_set, precision)
    return _Graph(data, parity, score)


def _wrap(job: ExportJob, model: nn.Module, *, half: bool = False, as_float: bool = False) -> TileGraph:
    own = copy.deepcopy(model)
    return TileGraph(own, job.mean, job.std, activation=job.activation, half=half, as_float=as_float).eval()


def torch_score(job: ExportJob) -> Score:
    """Return the PyTorch model as a scorer: uint8 tiles (or whole frames) in, probabilities out."""
    if job.frame_wh is not None:
        answers = torch_answers(job)
        return lambda frames: answers(frames)[0]
    graph = _wrap(job, job.model, as_float=True)

    @torch.no_grad()
    def score(tiles: U8) -> npt.NDArray[np.float32]:
        answer: npt.NDArray[np.float32] = graph(torch.from_numpy(tiles)).numpy()
        return answer

    return score


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


def _check_rounding(graph: bytes, score: Score, tiles: U8, precision: Precision) -> None:
    """The stored graph must give the probabilities of its float twin in 255 levels, rounded to the nearest."""
    with OnnxRuntimeEngine(graph, precision=precision) as engine:
        got = engine.run(np.ascontiguousarray(tiles)).astype(np.float32)
    off = float(np.abs(got - 255 * score(tiles)).max())
    # Half a level is rounding; the twin may be fused otherwise, which moves a score across the edge of a level.
    if off > 0.5 + TOLERANCES[precision].max_levels:
        raise ExportError(f"the {precision} graph rounds wrongly: its scores are off by {off:.1f} of 255 levels")


def _golden_scores(job: ExportJob, graph: bytes) -> U8:
    with OnnxRuntimeEngine(graph) as engine:
        tiles = job.golden_set
        return np.concatenate([engine.run(tiles[i : i + 1]).copy() for i in range(len(tiles))])


def _manifest(job: ExportJob, contract: TilingContract, exported: Mapping[Precision, ProvenGraph]) -> Manifest:
    decides = job.frame_wh is not None
    return Manifest(
        name=job.name,
        version=job.version,
        created=_now(),
        description=job.description,
        provenance=job.provenance.model_copy(update={"tools": _tools()}),
        input=InputContract(
            channels=3 if job.channels == 3 else 1,
            colour_order="BGR" if job.channels == 3 else "GREY",
            mean=job.mean,
            std=job.std,
        ),
        tiling=contract,
        output=OutputContract(
            activation=job.activation,
            classes=job.classes,
            open_px=job.open_px,
            close_px=job.close_px,
            decision=DecisionSpec(threshold=job.decision_threshold) if decides else None,
        ),
        graphs={
            precision: GraphSpec(
                file=f"model.{precision}.onnx",
                sha256=hashlib.sha256(graph.data).hexdigest(),
                parity=graph.parity,
                tolerance=TOLERANCES[precision],
            )
            for precision, graph in exported.items()
        },
        golden=GoldenSpec(
            file="golden.npz",
            tiles=len(job.golden_set),
            tile_px=max(job.golden_set.shape[1:3]),
            tile_wh=job.frame_wh,
        ),
    )


def _report(
    job: ExportJob, stride: int, exported: Mapping[Precision, ProvenGraph], left_out: Mapping[str, str]
) -> bytes:
    """What the export saw, for people who want to look closer than the manifest."""
    operators: dict[str, dict[str, int]] = {}
    for precision, graph in exported.items():
        names = [node.op_type for node in onnx.load_from_string(graph.data).graph.node]
        operators[precision] = {name: names.count(name) for name in sorted(set(names))}
    report = {
        "accepted_stride_px": stride,
        "texture_hw": list(job.texture.shape[:2]) if job.frame_wh is None else None,
        "tile_px": int(max(job.tiles.shape[1:3])),
        "tiles": list(job.tile_origins),
        "operators": operators,
        **({"frame_wh": list(job.frame_wh), "left_out": dict(left_out)} if job.frame_wh is not None else {}),
    }
    return (json.dumps(report, indent=2) + "\n").encode()


def _tools() -> dict[str, str]:
    return {
        "jetspect": __version__,
        "torch": torch.__version__.partition("+")[0],
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _now() -> datetime:
    """The time, or SOURCE_DATE_EPOCH for builds that must come out the same."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    when = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch.isdigit() else datetime.now(timezone.utc)
    return when.replace(microsecond=0)


def manifest_json(manifest: Manifest) -> dict[str, object]:
    """Return the manifest as plain data."""
    data: dict[str, object] = json.loads(manifest.model_dump_json())
    return data
