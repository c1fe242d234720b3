"""Write a bundle: export its graphs, measure how they tile, prove them, and put everything into one checksummed folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx

from jetspect.export.card import model_card
from jetspect.export.job import ExportJob, ForegroundJob, check_job
from jetspect.export.manifest import make_manifest, with_accuracy
from jetspect.export.proof import Proof
from jetspect.export.tiles import measure_tiling, prove_tiles
from jetspect.export.whole import prove_whole, whole_contract
from jetspect.export.writer import pack, refuse_to_lose, write_bundle
from jetspect.runtime.bundle import MANIFEST, Bundle
from jetspect.runtime.manifest import Manifest

__all__ = ["ExportJob", "ForegroundJob", "export_bundle", "manifest_json"]
Report = Callable[[str], None]


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
    if job.frame_wh is None:
        proof = prove_tiles(job, report)
        report("measuring stride and halo")
        contract = measure_tiling(job, proof)
    else:
        proof = prove_whole(job, job.frame_wh, report)
        contract = whole_contract(job.frame_wh, proof)
    first = None
    if job.foreground is not None:
        first = prove_tiles(job.foreground.job, lambda what: report(f"stage one: {what}"))
    manifest = make_manifest(job, contract, proof.graphs, first)
    files = _files(proof, first)
    if job.measure is not None or job.measure_foreground is not None:
        report("measuring accuracy")
        manifest = with_accuracy(job, manifest, Bundle(out, {**files, MANIFEST: b""}, manifest, signature="draft"))
    files[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    files["MODEL_CARD.md"] = model_card(manifest, job.notes, proof.left_out).encode()
    files["report.json"] = _report(job, proof)
    report("writing and verifying")
    write_bundle(files, out, force=force)
    return manifest


def _files(proof: Proof, first: Proof | None) -> dict[str, bytes]:
    golden = dict(proof.golden)
    files = {f"model.{precision}.onnx": graph.data for precision, graph in proof.graphs.items()}
    if first is not None:
        golden |= {f"foreground_{name}": array for name, array in first.golden.items()}
        files |= {f"foreground.{precision}.onnx": graph.data for precision, graph in first.graphs.items()}
    return {**files, "golden.npz": pack(**golden)}


def _report(job: ExportJob, proof: Proof) -> bytes:
    """What the export saw, for people who want to look closer than the manifest."""
    operators: dict[str, dict[str, int]] = {}
    for precision, graph in proof.graphs.items():
        names = [node.op_type for node in onnx.load_from_string(graph.data).graph.node]
        operators[precision] = {name: names.count(name) for name in sorted(set(names))}
    report = {
        "accepted_stride_px": proof.stride_px,
        "texture_hw": list(job.texture.shape[:2]) if job.frame_wh is None else None,
        "tile_px": int(max(job.tiles.shape[1:3])),
        "tiles": list(job.tile_origins),
        "operators": operators,
        **({"frame_wh": list(job.frame_wh), "left_out": dict(proof.left_out)} if job.frame_wh is not None else {}),
    }
    return (json.dumps(report, indent=2) + "\n").encode()


def manifest_json(manifest: Manifest) -> dict[str, object]:
    """Return the manifest as plain data."""
    data: dict[str, object] = json.loads(manifest.model_dump_json())
    return data
