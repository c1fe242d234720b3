"""Fill the manifest from a job and what was proven of its graphs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime, timezone

import onnx
import onnxruntime
import torch

from jetspect import __version__
from jetspect.export.job import ExportJob, ForegroundJob
from jetspect.export.parity import golden_tolerance
from jetspect.export.proof import Proof, ProvenGraph
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.manifest import (
    DecisionSpec,
    ForegroundSpec,
    GoldenSpec,
    GraphSpec,
    InputContract,
    Manifest,
    OutputContract,
    Precision,
    TilingContract,
)

Graphs = Mapping[Precision, ProvenGraph]


def make_manifest(job: ExportJob, contract: TilingContract, graphs: Graphs, first: Proof | None) -> Manifest:
    """Return the manifest of a job, with stage one where there is one; accuracy comes later."""
    foreground = None
    if job.foreground is not None and first is not None:
        foreground = _foreground(job.foreground, first)
    return Manifest(
        name=job.name,
        version=job.version,
        created=_now(),
        description=job.description,
        provenance=job.provenance.model_copy(update={"tools": _tools()}),
        input=_input(job),
        tiling=contract,
        output=OutputContract(
            activation=job.activation,
            classes=job.classes,
            open_px=job.open_px,
            close_px=job.close_px,
            decision=None if job.frame_wh is None else DecisionSpec(threshold=job.decision_threshold),
        ),
        graphs=_graphs("model", graphs),
        golden=_golden(job),
        foreground=foreground,
    )


def with_accuracy(job: ExportJob, manifest: Manifest, draft: Bundle) -> Manifest:
    """Return the manifest with what the FP32 graphs reach on labelled images, both stages together."""
    changes: dict[str, object] = {}
    if job.measure is not None:
        changes["graphs"] = _noted(manifest.graphs, job.measure(draft))
    if job.measure_foreground is not None and manifest.foreground is not None:
        graphs = _noted(manifest.foreground.graphs, job.measure_foreground(draft))
        changes["foreground"] = manifest.foreground.model_copy(update={"graphs": graphs})
    return manifest.model_copy(update=changes)


def _foreground(job: ForegroundJob, proof: Proof) -> ForegroundSpec:
    first = job.job
    return ForegroundSpec(
        provenance=first.provenance,
        input=_input(first),
        scale=job.scale,
        stride_px=proof.stride_px,
        threshold=first.classes[0].threshold,
        margin_px=job.margin_px,
        min_foreground=job.min_foreground,
        graphs=_graphs("foreground", proof.graphs),
        golden=_golden(first),
    )


def _input(job: ExportJob) -> InputContract:
    return InputContract(
        channels=3 if job.channels == 3 else 1,
        colour_order="BGR" if job.channels == 3 else "GREY",
        mean=job.mean,
        std=job.std,
    )


def _golden(job: ExportJob) -> GoldenSpec:
    edge = max(job.golden_set.shape[1:3])
    return GoldenSpec(file="golden.npz", tiles=len(job.golden_set), tile_px=edge, tile_wh=job.frame_wh)


def _graphs(stem: str, graphs: Graphs) -> dict[Precision, GraphSpec]:
    return {
        precision: GraphSpec(
            file=f"{stem}.{precision}.onnx",
            sha256=hashlib.sha256(graph.data).hexdigest(),
            parity=graph.parity,
            tolerance=golden_tolerance(precision, graph.parity),
        )
        for precision, graph in graphs.items()
    }


def _noted(graphs: dict[Precision, GraphSpec], accuracy: dict[str, float]) -> dict[Precision, GraphSpec]:
    return {**graphs, "fp32": graphs["fp32"].model_copy(update={"accuracy": accuracy})}


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
