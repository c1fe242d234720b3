"""What an export has proven of one model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from jetspect.runtime.manifest import Parity, Precision


@dataclass(frozen=True, eq=False)
class ProvenGraph:
    """One exported graph, proven against the model."""

    data: bytes
    parity: Parity


@dataclass(frozen=True, eq=False)
class Proof:
    """The graphs of one model, each proven against it.

    Attributes
    ----------
    stride_px
        Height and width that the model takes are multiples of this (of a model of whole frames: the stride of its mask).
    golden
        Arrays of golden.npz: tiles, scores and, where the model decides, decisions.
    left_out
        Why a precision has no graph.
    """

    stride_px: int
    graphs: dict[Precision, ProvenGraph]
    golden: dict[str, npt.NDArray[np.uint8]]
    left_out: dict[str, str] = field(default_factory=dict)
