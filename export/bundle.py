"""Write a bundle: export its graphs, measure how they tile, prove them, and put everything into one checksummed folder."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
from collections.abc import Callable
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
from jetspect.export.graph import TileGraph, float_twin, fold_batch_norm, pools_globally, to_onnx
from jetspect.export.job import ExportJob, ForegroundJob, check_job
from jetspect.export.parity import MAX_ABS, float_scorer, measure_parity, require_parity
from jetspect.export.writer import pack, refuse_to_lose, write_bundle
from jetspect.runtime.bundle import MANIFEST, Bundle
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.manifest import (
    ForegroundSpec,
    GoldenSpec,
    GoldenTolerance,
    GraphSpec,
    InputContract,
    Manifest,
    OutputContract,
    Parity,
    Precision,
    TilingContract,
)

__all__ = ["ExportJob", "ForegroundJob", "export_bundle", "manifest_json"]
U8 = npt.NDArray[np.uint8]
# Levels of 255 that a correct engine may be off: FP32 by rounding at the edge of a level, FP16 by its arithmetic.
TOLERANCES: dict[Precision, GoldenTolerance] = {
    "fp32": GoldenTolerance(max_levels=2, mean_levels=0.05),
    "fp16": GoldenTolerance(max_levels=8, mean_levels=0.5),
}
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class _Graph:
    """One exported graph, proven against the model."""

    data: bytes
    score: Score
    parity: Parity


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
    stride, exported = _prove(job, report)
    report("measuring stride and halo")
    fp32 = exported["fp32"]
    contract = tiling_contract(fp32.score, job.texture, stride, tile_px=job.tile_px, pools=pools_globally(fp32.data))
    files = {f"model.{precision}.onnx": graph.data for precision, graph in exported.items()}
    golden = {"tiles": job.golden_set, "scores": _golden_scores(job, exported["fp32"].data)}
    manifest = _manifest(job, contract, exported)
    if job.foreground is not None:
        first = job.foreground.job
        first_stride, graphs = _prove(first, lambda what: report(f"stage one: {what}"))
        files |= {f"foreground.{precision}.onnx": graph.data for precision, graph in graphs.items()}
        golden |= {
            "foreground_tiles": first.golden_set,
            "foreground_scores": _golden_scores(first, graphs["fp32"].data),
        }
        manifest = manifest.model_copy(update={"foreground": _foreground(job.foreground, first_stride, graphs)})
    files["golden.npz"] = pack(**golden)
    if job.measure is not None or job.measure_foreground is not None:
        report("measuring accuracy")
        manifest = _with_accuracy(job, manifest, Bundle(out, {**files, MANIFEST: b""}, manifest, signature="draft"))
    files[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    files["MODEL_CARD.md"] = model_card(manifest, job.notes).encode()
    files["report.json"] = _report(job, stride, exported)
    report("writing and verifying")
    write_bundle(files, out, force=force)
    return manifest


def _prove(job: ExportJob, report: Report) -> tuple[int, dict[Precision, _Graph]]:
    """Return the stride that a stage accepts and its graphs, each proven against the model."""
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
    require_parity(parity, precision, fp16_max_abs=getattr(job.model, "fp16_max_abs", MAX_ABS["fp16"]))
    _check_rounding(data, score, job.golden_set, precision, _tolerance(precision, parity))
    return _Graph(data, score, parity)


def _wrap(job: ExportJob, model: nn.Module, *, half: bool = False, as_float: bool = False) -> TileGraph:
    own = copy.deepcopy(model)
    return TileGraph(own, job.mean, job.std, activation=job.activation, half=half, as_float=as_float).eval()


def torch_score(job: ExportJob) -> Score:
    """Return the PyTorch model as a scorer: uint8 tiles in, probabilities out."""
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


def _check_rounding(graph: bytes, score: Score, tiles: U8, precision: Precision, tolerance: GoldenTolerance) -> None:
    """The stored graph must give the probabilities of its float twin in 255 levels, rounded to the nearest."""
    with OnnxRuntimeEngine(graph, precision=precision) as engine:
        got = engine.run(np.ascontiguousarray(tiles)).astype(np.float32)
    off = float(np.abs(got - 255 * score(tiles)).max())
    # Half a level is rounding; the twin may be fused otherwise, which moves a score across the edge of a level.
    if off > 0.5 + tolerance.max_levels:
        raise ExportError(f"the {precision} graph rounds wrongly: its scores are off by {off:.1f} of 255 levels")


def _tolerance(precision: Precision, parity: Parity) -> GoldenTolerance:
    """The usual tolerance, wider where the proven graph itself was further off on real tiles."""
    usual = TOLERANCES[precision]
    return usual.model_copy(update={"max_levels": max(usual.max_levels, math.ceil(1.5 * 255 * parity.max_abs))})


def _golden_scores(job: ExportJob, graph: bytes) -> U8:
    with OnnxRuntimeEngine(graph) as engine:
        tiles = job.golden_set
        return np.concatenate([engine.run(tiles[i : i + 1]).copy() for i in range(len(tiles))])


def _manifest(job: ExportJob, contract: TilingContract, exported: dict[Precision, _Graph]) -> Manifest:
    return Manifest(
        name=job.name,
        version=job.version,
        created=_now(),
        description=job.description,
        provenance=job.provenance.model_copy(update={"tools": _tools()}),
        input=_input(job),
        tiling=contract,
        output=OutputContract(
            activation=job.activation, classes=job.classes, open_px=job.open_px, close_px=job.close_px
        ),
        graphs=_graphs("model", exported),
        golden=GoldenSpec(file="golden.npz", tiles=len(job.golden_set), tile_px=job.golden_set.shape[1]),
    )


def _foreground(job: ForegroundJob, stride: int, exported: dict[Precision, _Graph]) -> ForegroundSpec:
    first = job.job
    return ForegroundSpec(
        provenance=first.provenance,
        input=_input(first),
        scale=job.scale,
        stride_px=stride,
        threshold=first.classes[0].threshold,
        margin_px=job.margin_px,
        min_foreground=job.min_foreground,
        graphs=_graphs("foreground", exported),
        golden=GoldenSpec(file="golden.npz", tiles=len(first.golden_set), tile_px=first.golden_set.shape[1]),
    )


def _input(job: ExportJob) -> InputContract:
    return InputContract(
        channels=3 if job.channels == 3 else 1,
        colour_order="BGR" if job.channels == 3 else "GREY",
        mean=job.mean,
        std=job.std,
    )


def _graphs(stem: str, exported: dict[Precision, _Graph]) -> dict[Precision, GraphSpec]:
    return {
        precision: GraphSpec(
            file=f"{stem}.{precision}.onnx",
            sha256=hashlib.sha256(graph.data).hexdigest(),
            parity=graph.parity,
            tolerance=_tolerance(precision, graph.parity),
        )
        for precision, graph in exported.items()
    }


def _with_accuracy(job: ExportJob, manifest: Manifest, draft: Bundle) -> Manifest:
    """Return the manifest with what the FP32 graphs reach on labelled images, both stages together."""
    changes: dict[str, object] = {}
    if job.measure is not None:
        changes["graphs"] = _noted(manifest.graphs, job.measure(draft))
    if job.measure_foreground is not None and manifest.foreground is not None:
        graphs = _noted(manifest.foreground.graphs, job.measure_foreground(draft))
        changes["foreground"] = manifest.foreground.model_copy(update={"graphs": graphs})
    return manifest.model_copy(update=changes)


def _noted(graphs: dict[Precision, GraphSpec], accuracy: dict[str, float]) -> dict[Precision, GraphSpec]:
    return {**graphs, "fp32": graphs["fp32"].model_copy(update={"accuracy": accuracy})}


def _report(job: ExportJob, stride: int, exported: dict[Precision, _Graph]) -> bytes:
    """What the export saw, for people who want to look closer than the manifest."""
    operators: dict[str, dict[str, int]] = {}
    for precision, graph in exported.items():
        names = [node.op_type for node in onnx.load_from_string(graph.data).graph.node]
        operators[precision] = {name: names.count(name) for name in sorted(set(names))}
    report = {
        "accepted_stride_px": stride,
        "texture_hw": list(job.texture.shape[:2]),
        "tile_px": int(job.tiles.shape[1]),
        "tiles": list(job.tile_origins),
        "operators": operators,
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
