"""PyTorch as an engine, so that the model itself stands beside its graphs in the accuracy table."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import torch

from jetspect.errors import InputError
from jetspect.export.graph import TileGraph
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.base import Engine, EngineInfo
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.engines.staged import StagedEngine
from jetspect.runtime.manifest import Manifest

U8 = npt.NDArray[np.uint8]


def open_torch(path: Path, bundle: Bundle) -> Engine:
    """Open the checkpoint that a bundle was exported from; beside a stage one it stands in for stage two alone."""
    engine = TorchEngine(path, bundle.manifest)
    if bundle.manifest.foreground is None:
        return engine
    return StagedEngine(engine, OnnxRuntimeEngine(bundle.foreground_graph("fp32")))


class TorchEngine:
    """Runs a checkpoint of a tiled model in FP32, with the same bytes in and out as a graph.

    Raises
    ------
    InputError
        It is not the checkpoint that the bundle was exported from.
    """

    decisions: U8 | None = None
    dynamic = True

    def __init__(self, path: Path, manifest: Manifest) -> None:
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        if found != manifest.provenance.checkpoint_sha256:
            what = f"has sha256 {found[:12]}" if found else "does not exist"
            wanted = manifest.provenance.checkpoint_sha256 or "a model that was not stored"
            raise InputError(
                f"checkpoint {path} {what}; {manifest.name} was exported from {wanted[:12] if found else wanted}, give that one"
            )
        checkpoint = Checkpoint.load(path)
        self._graph = TileGraph(
            copy.deepcopy(checkpoint.build()), checkpoint.mean, checkpoint.std, activation=manifest.output.activation
        ).eval()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("pytorch", str(torch.__version__), "cpu", "fp32")

    @torch.no_grad()
    def run(self, tiles: U8) -> U8:
        scores: U8 = self._graph(torch.from_numpy(tiles)).numpy()
        return scores

    def close(self) -> None:
        return

    def __enter__(self) -> TorchEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return
