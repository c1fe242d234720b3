"""The graph for TensorRT 8.6: transposed convolutions with one scale each, and in FP16 where that loses too much.

8.6 is known to fail on transposed convolutions with a scale per channel, so its graph has one scale for all weights of each,
which is coarser than what the int8 graph was judged with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jetspect.calibration.network import Network
from jetspect.calibration.quantize import Plan

Transposed = Literal["none", "one scale", "fp16"]
TRANSPOSED: Mapping[Transposed, str] = {
    "none": "",
    "one scale": "with one scale per transposed convolution",
    "fp16": "with transposed convolutions in FP16",
}


@dataclass(frozen=True)
class Trt8Step:
    """One form of the graph for TensorRT 8.6 that was tried.

    Attributes
    ----------
    transposed
        What becomes of transposed convolutions; none: the plan has none in INT8.
    int8_share
        Share of the multiply-adds in INT8.
    faults
        Why it was not taken; empty: it was.
    accuracy
        Measured on whole images; empty where it was not worth measuring.
    """

    transposed: Transposed
    int8_share: float
    faults: tuple[str, ...]
    accuracy: Mapping[str, float]

    @property
    def taken(self) -> bool:
        return not self.faults

    def as_dict(self) -> dict[str, Any]:
        return {
            "transposed": self.transposed,
            "int8_share": round(self.int8_share, 4),
            "taken": self.taken,
            "faults": list(self.faults),
            "accuracy": dict(self.accuracy),
        }


def transposed_nodes(network: Network, plan: Plan) -> frozenset[str]:
    """Return the transposed convolutions that a plan has in INT8."""
    return frozenset(n.name for n in network.nodes if n.op_type == "ConvTranspose" and n.name in plan.nodes)


def why_not(steps: Sequence[Trt8Step]) -> str:
    """Say of each form that was not taken what speaks against it."""
    return "; ".join(
        ", ".join(filter(None, (TRANSPOSED[s.transposed], "; ".join(s.faults)))) for s in steps if s.faults
    )


def trt8_notes(steps: Sequence[Trt8Step]) -> tuple[str, ...]:
    """Say what the graph is where it is not the first form that was tried."""
    if len(steps) < 2 or not steps[-1].taken:
        return ()
    return (
        f"int8-trt8 leaves transposed convolutions in FP16 ({steps[-1].int8_share:.1%} of the multiply-adds in INT8): "
        f"{why_not(steps)}",
    )
