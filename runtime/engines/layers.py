"""What TensorRT's engine inspector says about an engine, in a few numbers. Pure.

Its JSON is no stable interface: up to 10 a tensor has ``Format/Datatype``, from 11 on ``Format`` and ``DataType``, names differ
between its own kernels and fused ones, and metadata may hold raw control characters. What is not understood is not known; it is
never guessed, and never a crash.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["int8", "fp16", "fp32", "other"]
# Types as the inspector spells them, in words of its formats; the first that occurs counts.
_SPELLED: tuple[tuple[str, Kind], ...] = (
    ("bf16", "other"),
    ("bfloat", "other"),
    ("fp8", "other"),
    ("uint8", "other"),
    ("int8", "int8"),
    ("half", "fp16"),
    ("fp16", "fp16"),
    ("float", "fp32"),
    ("fp32", "fp32"),
)
# CaskConvolution, CaskDeconvolutionV2, conv, correlation: convolutions under their names in 8.6 to 11.
_CONVOLUTION = re.compile(r"conv|correlation", re.IGNORECASE)
_ONNX_CONVOLUTION = re.compile(r"ONNX Layer:[^\]]*Conv", re.IGNORECASE)


class LayerSummary(BaseModel):
    """How many convolutions of an engine run in which precision; what the inspector does not tell is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: int = Field(ge=0, description="Layers after fusion")
    int8: int = Field(ge=0, description="Convolutions in INT8")
    fp16: int = Field(ge=0, description="Convolutions in FP16")
    fp32: int = Field(ge=0, description="Convolutions in FP32")
    unknown: int = Field(ge=0, description="Convolutions whose precision is not told")

    def __str__(self) -> str:
        counts = {"INT8": self.int8, "FP16": self.fp16, "FP32": self.fp32, "of unknown precision": self.unknown}
        told = ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "none seen"
        return f"{self.layers} layers; convolutions: {told}"


def summarise(told: str) -> LayerSummary | None:
    """Read the inspector's JSON of an engine; None where its shape is not known."""
    try:
        data = json.loads(told, strict=False)
    except (ValueError, RecursionError):
        return None
    layers = data.get("Layers") if isinstance(data, dict) else None
    # An engine built with fewer details has the names of its layers only.
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        return None
    counts = dict.fromkeys(("int8", "fp16", "fp32", "other"), 0)
    for layer in layers:
        if _is_convolution(layer):
            counts[_precision(layer)] += 1
    return LayerSummary(
        layers=len(layers), int8=counts["int8"], fp16=counts["fp16"], fp32=counts["fp32"], unknown=counts["other"]
    )


def _is_convolution(layer: dict[str, Any]) -> bool:
    kinds = f"{layer.get('LayerType', '')} {layer.get('ParameterType', '')}"
    if _CONVOLUTION.search(kinds):
        return True
    # A fused kernel does not say what it does, but its weights and the ONNX nodes it was made of tell.
    return "Weights" in layer and bool(_ONNX_CONVOLUTION.search(str(layer.get("Metadata", ""))))


def _precision(layer: dict[str, Any]) -> Kind:
    """By the type of the weights, else by that of the first input: the product is computed in it."""
    for spelled in _types(layer):
        for mark, kind in _SPELLED:
            if mark in spelled.lower():
                return kind
    return "other"


def _types(layer: dict[str, Any]) -> Iterator[str]:
    weights, inputs = layer.get("Weights"), layer.get("Inputs")
    if isinstance(weights, dict) and isinstance(weights.get("Type"), str):
        yield weights["Type"]
    first = inputs[0] if isinstance(inputs, list) and inputs else None
    if isinstance(first, dict):
        yield from (str(value) for key, value in first.items() if key.lower().endswith("datatype"))
