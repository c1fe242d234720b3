"""Write a bundle: measure the model, export its graphs, prove them, and put everything into one checksummed folder."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
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
from jetspect.export.geometry import Score, tiling_contract
from jetspect.export.graph import Activation, TileGraph, fold_batch_norm, to_onnx
from jetspect.export.parity import measure_parity, require_parity
from jetspect.runtime.bundle import MANIFEST, SUMS, Bundle
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.manifest import (
    ClassSpec,
    GoldenSpec,
    GoldenTolerance,
    GraphSpec,
    InputContract,
    Manifest,
    OutputContract,
    Precision,
    Provenance,
    TilingContract,
)

U8 = npt.NDArray[np.uint8]
# Levels of 255 that a correct engine may be off: FP32 by rounding at the edge of a level, FP16 by its arithmetic.
TOLERANCES: dict[Precision, GoldenTolerance] = {
    "fp32": GoldenTolerance(max_levels=2, mean_levels=0.05),
    "fp16": GoldenTolerance(max_levels=8, mean_levels=0.5),
}
Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class ExportJob:
    """What becomes a bundle.

    Attributes
    ----------
    model
        In evaluation mode; float N x C x H x W normalised in, logits N x K x H x W out.
    tiles
        uint8 N x T x T x C: real tiles for parity; the first ``golden`` of them become the golden tiles.
    texture
        uint8 H x W x C: one large real image (or mosaic) on which stride and halo are measured.
    """

    model: nn.Module
    name: str
    version: str
    classes: tuple[ClassSpec, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tiles: U8
    texture: U8
    provenance: Provenance
    description: str = ""
    activation: Activation = "sigmoid"
    open_px: int = 0
    close_px: int = 0
    tile_px: int | None = None
    golden: int = 4
    accuracy: dict[str, float] = field(default_factory=dict)
    notes: str = ""


def export_bundle(job: ExportJob, out: Path, *, force: bool = False, report: Report = lambda _: None) -> Manifest:
    """Write a bundle to ``out``, whole or not at all.

    Raises
    ------
    ExportError
        ``out`` exists (without ``force``), the model does not keep the contract, or a graph differs from the model.
    """
    if out.exists() and not force:
        raise ExportError(f"{out} exists; choose another --out or replace it with --force")
    channels = job.tiles.shape[3]
    reference = _torch_score(job, channels)
    report("measuring stride and halo")
    contract = tiling_contract(reference, job.texture, channels, tile_px=job.tile_px)
    _check_answer(reference, contract, channels, len(job.classes))
    report("exporting fp32")
    folded = fold_batch_norm(copy.deepcopy(job.model).eval())
    thresholds = [c.threshold for c in job.classes]
    files: dict[str, bytes] = {}
    graphs: dict[Precision, GraphSpec] = {}
    golden: U8 | None = None
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    for precision in precisions:
        if precision == "fp16":
            report("exporting fp16")
        half = precision == "fp16"
        data = to_onnx(_graph(job, folded, half=half), channels=channels, stride_px=contract.stride_px)
        # The stored graph is the one that is compared; its scores come in steps of 1/255, half a step is rounding.
        engine = OnnxRuntimeEngine(data, precision=precision)
        parity = measure_parity(_rounded(reference), _engine_score(engine), job.tiles, thresholds)
        require_parity(parity, precision)
        if golden is None:
            golden = np.concatenate([engine.run(job.tiles[i : i + 1]).copy() for i in range(job.golden)])
        file = f"model.{precision}.onnx"
        files[file] = data
        graphs[precision] = GraphSpec(
            file=file,
            sha256=hashlib.sha256(data).hexdigest(),
            parity=parity,
            tolerance=TOLERANCES[precision],
            accuracy=job.accuracy if precision == "fp32" else {},
        )
    assert golden is not None
    files["golden.npz"] = _npz(tiles=job.tiles[: job.golden], scores=golden)
    manifest = Manifest(
        name=job.name,
        version=job.version,
        created=_now(),
        description=job.description,
        provenance=job.provenance.model_copy(update={"tools": _tools()}),
        input=InputContract(
            channels=3 if channels == 3 else 1,
            colour_order="BGR" if channels == 3 else "GREY",
            mean=job.mean,
            std=job.std,
        ),
        tiling=contract,
        output=OutputContract(
            activation=job.activation, classes=job.classes, open_px=job.open_px, close_px=job.close_px
        ),
        graphs=graphs,
        golden=GoldenSpec(file="golden.npz", tiles=len(golden), tile_px=job.tiles.shape[1]),
    )
    files[MANIFEST] = (manifest.model_dump_json(indent=2) + "\n").encode()
    files["MODEL_CARD.md"] = model_card(manifest, job.notes).encode()
    report("writing and verifying")
    _write(files, out, force=force)
    return manifest


def _graph(job: ExportJob, model: nn.Module, *, half: bool = False, as_float: bool = False) -> TileGraph:
    own = copy.deepcopy(model)
    return TileGraph(own, job.mean, job.std, activation=job.activation, half=half, as_float=as_float).eval()


def _torch_score(job: ExportJob, channels: int) -> Score:
    graph = _graph(job, job.model, as_float=True)
    if not len(job.mean) == len(job.std) == channels:
        raise ExportError(f"mean and std need one value for each of the {channels} channels of the tiles")
    for name, tensor in graph.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ExportError(f"{name} holds NaN or infinity; the training diverged, export an earlier checkpoint")

    @torch.no_grad()
    def score(tiles: U8) -> npt.NDArray[np.float32]:
        answer: npt.NDArray[np.float32] = graph(torch.from_numpy(tiles)).numpy()
        return answer

    return score


def _rounded(score: Score) -> Score:
    """Round probabilities to the 256 levels of the graph's output, so that only real differences are measured."""
    return lambda tiles: np.floor(score(tiles) * 255 + 0.5).astype(np.float32) / np.float32(255)


def _engine_score(engine: OnnxRuntimeEngine) -> Score:
    return lambda tiles: engine.run(np.ascontiguousarray(tiles)).astype(np.float32) / np.float32(255)


def _check_answer(score: Score, contract: TilingContract, channels: int, classes: int) -> None:
    edge = contract.tile_px
    answer = score(np.zeros((1, edge, edge, channels), np.uint8))
    if answer.shape != (1, classes, edge, edge):
        raise ExportError(
            f"the model answers {answer.shape} for a tile of {edge} px; (1, {classes}, {edge}, {edge}) is needed "
            f"for the {classes} classes given"
        )


def _npz(**arrays: U8) -> bytes:
    """Compress arrays into .npz bytes that depend on nothing but the arrays."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)  # zip entries carry the fixed date that NumPy gives them
    return stream.getvalue()


def _tools() -> dict[str, str]:
    return {
        "jetspect": __version__,
        "torch": torch.__version__.partition("+")[0],
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def _now() -> datetime:
    """The time, or SOURCE_DATE_EPOCH for builds that must come out the same."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    when = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
    return when.replace(microsecond=0)


def _write(files: dict[str, bytes], out: Path, *, force: bool) -> None:
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            for name, data in {**files, SUMS: sums.encode()}.items():
                (draft / name).write_bytes(data)
            draft.chmod(0o755)
            Bundle.open(draft)
            if force and out.exists():
                shutil.rmtree(out)
            draft.rename(out)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror or error}") from error


def manifest_json(manifest: Manifest) -> dict[str, object]:
    """Return the manifest as plain data."""
    data: dict[str, object] = json.loads(manifest.model_dump_json())
    return data
