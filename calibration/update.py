"""Put INT8 graphs into a bundle: in memory to try them, on disk all at once."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jetspect.calibration.activations import open_session
from jetspect.calibration.gate import Limits, Row
from jetspect.calibration.graphs import Graphs
from jetspect.calibration.judge import Judge
from jetspect.calibration.outcome import Outcome
from jetspect.calibration.trt8 import Trt8Step, why_not
from jetspect.errors import CalibrationError
from jetspect.export.geometry import Score
from jetspect.export.graph import float_twin
from jetspect.export.parity import float_scorer, measure_parity
from jetspect.export.writer import pack, write_bundle
from jetspect.runtime.bundle import MANIFEST, SIGNATURE, SUMS, Bundle
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.manifest import ForegroundSpec, GoldenTolerance, GraphSpec, Manifest, Precision

INT8: tuple[Precision, ...] = ("int8", "int8-trt8", "int8-cpu")
CALIBRATION = "calibration.json"
# An engine may round otherwise than the simulation that the tolerance was measured with.
_WIDER = 2.0
_LEAST_MAX, _LEAST_MEAN = 16, 0.5
# A tolerance beyond this would prove nothing.
MOST_LEVELS = 100
# Tiles that parity is measured on.
_PARITY_TILES = 16


def draft_bundle(
    bundle: Bundle,
    graphs: Graphs,
    judge: Judge,
    recipes: Mapping[Precision, Mapping[str, Any]],
    threshold_shift: int = 0,
) -> Bundle:
    """Return the bundle with these graphs and their golden answers, in memory."""
    thresholds = [c.threshold for c in bundle.manifest.output.shifted(threshold_shift).classes]
    reference = float_scorer(float_twin(bundle.graph("fp32")))
    specs: dict[Precision, GraphSpec] = {}
    files: dict[str, bytes] = {}
    golden, tolerances = _golden(bundle, graphs)
    for precision, data in graphs.data.items():
        name = f"model.{precision}.onnx"
        files[name] = data
        specs[precision] = GraphSpec(
            file=name,
            sha256=hashlib.sha256(data).hexdigest(),
            parity=measure_parity(reference, _scorer(data, precision), judge.tiles[:_PARITY_TILES], thresholds),
            tolerance=tolerances[precision],
            golden_scores=_array_of(precision),
            threshold_shift=threshold_shift,
            recipe=dict(recipes[precision]),
        )
    kept = {p: g for p, g in bundle.manifest.graphs.items() if p not in INT8}
    changes: dict[str, Any] = {"graphs": {**kept, **specs}}
    if bundle.manifest.foreground is not None:
        changes["foreground"] = _stage_one(bundle.manifest.foreground, specs)
    manifest = bundle.manifest.model_copy(update=changes)
    old = {name: bundle.file(name) for name in bundle.sizes}
    return Bundle(bundle.path, {**old, **files, bundle.manifest.golden.file: golden}, manifest, signature="draft")


def finish_manifest(
    draft: Bundle, rows: Sequence[Row], limits: Limits, trt8: Sequence[Trt8Step]
) -> tuple[Manifest, tuple[str, ...]]:
    """Return the manifest with what INT8 reached, and why a graph beside the int8 one was left out."""
    graphs: dict[Precision, GraphSpec] = dict(draft.manifest.graphs)
    left_out: list[str] = []
    for row in rows:
        if row.name not in INT8:
            continue  # what the export measured stays, and PyTorch is no graph
        graphs[row.name] = graphs[row.name].model_copy(update={"accuracy": row.accuracy})
        faults = limits.faults(rows[0], row)
        if row.name != "int8" and faults:
            del graphs[row.name]
            why = why_not(trt8) if row.name == "int8-trt8" else "; ".join(faults)
            left_out.append(f"no {row.name} graph: {why}")
    changes: dict[str, Any] = {"graphs": graphs}
    first = draft.manifest.foreground
    if first is not None:
        changes["foreground"] = first.model_copy(update={"graphs": {p: first.graphs[p] for p in graphs}})
    return draft.manifest.model_copy(update=changes), tuple(left_out)


def write_update(path: Path, bundle: Bundle, outcome: Outcome) -> None:
    """Replace the bundle by the one with the new graphs, whole or not at all; an old signature goes.

    Raises
    ------
    ExportError
        It cannot be written, or does not reproduce its golden tiles.
    """
    assert outcome.manifest is not None
    if Bundle.open(path).manifest_sha256 != bundle.manifest_sha256:
        raise CalibrationError(
            f"{path} was replaced while it was calibrated; nothing was written, calibrate the new one"
        )
    wanted = {g.file for g in outcome.manifest.graphs.values()}
    stale = {f"model.{p}.onnx" for p in INT8} - wanted
    files = {
        name: outcome.draft.file(name)
        for name in outcome.draft.sizes
        if name not in stale and name not in (SUMS, SIGNATURE, MANIFEST)
    }
    files[MANIFEST] = (outcome.manifest.model_dump_json(indent=2) + "\n").encode()
    files[CALIBRATION] = (json.dumps(_plain(outcome.as_dict()), indent=1, allow_nan=False) + "\n").encode()
    files["MODEL_CARD.md"] = _card(files.get("MODEL_CARD.md", b"").decode("utf-8", "replace"), outcome).encode()
    write_bundle(files, path, force=True)


def _scorer(graph: bytes, precision: Precision) -> Score:
    """Run a graph as its engine does, up to probabilities."""
    twin = float_twin(graph)
    if precision == "int8-cpu":
        return float_scorer(twin)
    session = open_session(twin)
    name = session.get_inputs()[0].name

    def score(tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        answer: npt.NDArray[np.float32] = session.run(None, {name: tiles})[0]
        return answer

    return score


def _golden(bundle: Bundle, graphs: Graphs) -> tuple[bytes, dict[Precision, GoldenTolerance]]:
    """Return golden.npz with an answer of its own for every INT8 graph, and how far an engine may be off it.

    INT8 may differ much from FP32 on tiles that are unlike the plant's, as rendered ones are, so FP32 proves nothing there.
    What is allowed is twice what rounding alone does: FP16 against FP32 between the pairs, and integer kernels against
    the same graph step by step.
    """
    with np.load(io.BytesIO(bundle.file(bundle.manifest.golden.file)), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files if name not in map(_array_of, INT8)}
    tiles = bundle.golden().tiles
    tolerances: dict[Precision, GoldenTolerance] = {}
    answers = {precision: _answers(graph, precision, tiles) for precision, graph in graphs.data.items()}
    rounding = _apart(answers["int8"], _answers(graphs.exact, "int8", tiles))
    for precision, said in answers.items():
        cpu = precision == "int8-cpu"
        off = _apart(said, _answers(graphs.data[precision], "int8", tiles)) if cpu else rounding
        arrays[_array_of(precision)] = said
        tolerances[precision] = GoldenTolerance(
            max_levels=min(MOST_LEVELS, max(_LEAST_MAX, math.ceil(_WIDER * int(off.max())))),
            mean_levels=max(_LEAST_MEAN, round(_WIDER * float(off.mean(axis=(1, 2, 3)).max()), 3)),
        )
    return pack(**arrays), tolerances


def _answers(graph: bytes, precision: Precision, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    with OnnxRuntimeEngine(graph, precision=precision) as engine:
        return np.concatenate([engine.run(tiles[i : i + 1]).copy() for i in range(len(tiles))])


def _apart(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    return np.abs(one.astype(np.int16) - other.astype(np.int16))


def _array_of(precision: Precision) -> str:
    return f"scores_{precision.replace('-', '_')}"


def _stage_one(first: ForegroundSpec, specs: Mapping[Precision, GraphSpec]) -> ForegroundSpec:
    """Stage one sees a shrunken frame and costs little: it stays as it is, in the type that fits beside each graph."""
    kept = {p: g for p, g in first.graphs.items() if p not in INT8}
    half = kept.get("fp16", kept["fp32"])
    beside = {p: half if p == "int8" else kept["fp32"] for p in specs}
    return first.model_copy(update={"graphs": {**kept, **beside}})


_HEADING = "## Calibration"


def _card(card: str, outcome: Outcome) -> str:
    """Return the model card with a section on the calibration, in place of an older one."""
    recipe, names = outcome.recipe, [r.name for r in outcome.rows]
    shown = ("iou", "iou_mean", "object_recall", "object_precision", "image_fpr")
    lines = [
        _HEADING,
        "",
        f"INT8 by {recipe['method']} ranges from {recipe['crops']} crops of {recipe['data']} (sha256 of their list "
        f"{recipe['crops_sha256']}), judged on {recipe['judged_on']}; {outcome.int8_share:.1%} of the multiply-adds are INT8. "
        "It was computed on a processor as TensorRT computes it, not yet on a Jetson.",
        "",
        f"| whole images of {recipe['judged_on']} | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for name in shown:
        values = [row.measures[name] for row in outcome.rows]
        if any(v is not None for v in values):
            lines.append(f"| {name} | {' | '.join('-' if v is None else f'{v:.4f}' for v in values)} |")
    lines += [f"\n- {note}" for note in outcome.notes]
    before, _, old = f"\n{card}".partition(f"\n{_HEADING}\n")
    _, heading, after = old.partition("\n## ")  # what the owner wrote behind it stays
    return (
        f"{before.strip()}\n\n" + "\n".join(lines) + (f"\n{heading.lstrip()}{after.rstrip()}" if heading else "") + "\n"
    )


def _plain(value: Any) -> Any:
    """Turn NumPy numbers into Python's, and what is not a number into None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (np.floating, float)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
