"""What an engine file is, in words: everything its cache key is made of, and how it was built. Readable without TensorRT."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from jetspect.runtime.engines.layers import LayerSummary
from jetspect.runtime.manifest import Precision, Sha256

Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EngineKey(Part):
    """Everything that an engine depends on; where one of these differs it is another engine."""

    graph_sha256: Sha256
    precision: Precision
    shape_nhwc: tuple[int, int, int, int] = Field(description="Of the tiles: batch, height, width, channels")
    tensorrt: str = Field(description="Full version")
    gpu: str
    compute_capability: tuple[int, int]
    driver: tuple[int, int] = Field(description="CUDA version of the driver")
    typing: Literal["weak", "strong"]
    flags: tuple[str, ...] = Field(description="Builder flags for precision")
    tf32: bool
    opt_level: Count = Field(description="Builder optimisation level asked for")
    builder_revision: Count = Field(description="Counts changes of jetspect's other builder settings")

    @property
    def name(self) -> str:
        """File name without suffix: people see what it is, the hash tells everything apart."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        batch, height, width, _ = self.shape_nhwc
        return f"{self.precision}-{width}x{height}-b{batch}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def differences(self, other: EngineKey) -> list[str]:
        """Say what another key has otherwise: ``TensorRT 10.3.0 instead of 10.13.3``."""
        found = []
        for name in EngineKey.model_fields:
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                told = _NAMES.get(name, name.replace("_", " "))
                change = "another one" if name == "graph_sha256" else f"{_shown(theirs)} instead of {_shown(ours)}"
                found.append(f"{told} {change}")
        return found


class Step(Part):
    """One step of the build ladder; ``failed`` is TensorRT's reason, None where it built."""

    opt_level: Count
    workspace_mib: Count
    failed: str | None = None

    def __str__(self) -> str:
        said = f"optimisation level {self.opt_level}, workspace {self.workspace_mib} MiB"
        return said if self.failed is None else f"{said}: {self.failed}"


class Sidecar(Part):
    """The JSON file beside an engine."""

    schema_version: Literal[1] = 1
    key: EngineKey
    bundle: str = Field(description="Name and version of the bundle")
    jetspect: str = Field(description="Version that built it")
    created: datetime
    build_s: float = Field(ge=0)
    steps: tuple[Step, ...] = Field(description="Ladder: what was tried, the last one built")
    layers: LayerSummary | None = Field(None, description="None: the engine inspector was not understood")
    engine_sha256: Sha256
    engine_bytes: Count


_NAMES = {"graph_sha256": "graph", "tensorrt": "TensorRT", "gpu": "GPU", "driver": "CUDA driver", "tf32": "TF32"}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        numbers = all(isinstance(v, int) for v in value)
        return (".".join if numbers and len(value) == 2 else " x ".join if numbers else "+".join)(
            map(str, value)
        ) or "none"
    return str(value)
