"""Rules on Q/DQ pairs themselves: scales, zero points, axes and the constants behind them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

from jetspect.calibration.network import WEIGHTED
from jetspect.calibration.trt_support import STRONGLY_TYPED, WHOLE_GRAPH, Finding, Severity, name_of

Q, DQ = "QuantizeLinear", "DequantizeLinear"
# Q and DQ can be moved across these: every value comes out as it went in.
MOVING = ("MaxPool", "Concat", "Transpose", "Reshape", "Slice", "Pad", "Identity", "Flatten", "Squeeze", "Unsqueeze")
# The output channels of the weights: [out, in / group, h, w] and [in, out / group, h, w].
CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}
_TRT8, _SINCE_10 = ("8.6",), ("10.3", "10.13", "11")


class QdqGraph:
    """A graph with an index of makers, users and constants, read as Q/DQ pairs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.outputs = {o.name for o in model.graph.output}
        self.makers = {output: node for node in self.nodes for output in node.output if output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.input):
                self.users.setdefault(tensor, []).append(node)
        self._constants = {i.name: i for i in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                self._constants[node.output[0]] = node.attribute[0].t

    @cached_property
    def weighted(self) -> list[onnx.NodeProto]:
        return [n for n in self.nodes if n.op_type in WEIGHTED and len(n.input) > 1]

    def constant(self, tensor: str) -> npt.NDArray[Any] | None:
        """Return the value of a constant; None where a tensor is computed."""
        found = self._constants.get(tensor)
        return None if found is None else np.asarray(onnx.numpy_helper.to_array(found))

    def input(self, node: onnx.NodeProto, position: int) -> str:
        """Return the name of an input; empty where it is left out."""
        return str(node.input[position]) if len(node.input) > position else ""

    def dequantiser(self, tensor: str) -> onnx.NodeProto | None:
        """Return the DQ that makes a tensor, also where a Cast stands between; None where there is none."""
        node = self.makers.get(tensor)
        while node is not None and node.op_type == "Cast":
            node = self.makers.get(node.input[0])
        return node if node is not None and node.op_type == DQ else None

    def is_quantised(self, tensor: str) -> bool:
        """Say whether a tensor comes from DQ, directly or through nodes that only move values."""
        if self.dequantiser(tensor) is not None:
            return True
        node = self.makers.get(tensor)
        if node is None or node.op_type not in MOVING:
            return False
        return all(self.is_quantised(t) for t in (node.input if node.op_type == "Concat" else node.input[:1]))

    def source(self, dequantise: onnx.NodeProto) -> str:
        """Return the tensor before a Q/DQ pair, or what DQ reads where it stands alone."""
        quantise = self.makers.get(dequantise.input[0])
        return str(quantise.input[0] if quantise is not None and quantise.op_type == Q else dequantise.input[0])

    def scale(self, node: onnx.NodeProto) -> npt.NDArray[Any] | None:
        """Return the scale of a Q or DQ as float64; None where it is computed."""
        scale = self.constant(self.input(node, 1))
        return None if scale is None else scale.astype(np.float64)

    def axis(self, node: onnx.NodeProto, rank: int) -> int:
        """Return the axis that the scales of a Q or DQ go along; ONNX says 1 where it is left out."""
        return int(next((a.i for a in node.attribute if a.name == "axis"), 1)) % max(rank, 1)

    def faces(self) -> Iterator[onnx.NodeProto]:
        """Yield every DQ, and the Qs whose scale or zero point is not that of a DQ behind them."""
        for node in self.nodes:
            if node.op_type == DQ:
                yield node
            elif node.op_type == Q:
                behind = [list(u.input[1:]) for u in self.users.get(node.output[0], ()) if u.op_type == DQ]
                if list(node.input[1:]) not in behind:
                    yield node


def pair_findings(graph: QdqGraph) -> Iterator[Finding]:
    """Yield what is wrong with single Q and DQ nodes, and with the weights that they quantise."""
    for node in graph.faces():
        yield from _scales(graph, node)
        yield from _zero_points(graph, node)
    for node in graph.nodes:
        if node.op_type == DQ:
            constant = graph.constant(node.input[0])
            if constant is not None and constant.dtype == np.int8:
                why = f"{node.input[0]} is an int8 constant; the parser of 8.6 wants float weights"
                fix = "keep float weights in the graph, with Q and DQ behind them"
                yield Finding(name_of(node), "int8-constant", "error", why, fix, _TRT8)
    for node in graph.weighted:
        yield from _weights(graph, node)
        yield from _activation(graph, node)
    yield from _float_scales(graph)


def _scales(graph: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    name, scale = name_of(node), graph.constant(graph.input(node, 1))
    if scale is None:
        why = f"scale {graph.input(node, 1)} is computed; TensorRT wants it known when it builds"
        yield Finding(name, "scale-not-constant", "error", why, "calibrate, and write the scale as a constant")
        return
    values = scale.astype(np.float64).ravel()
    wrong = values[~(np.isfinite(values) & (values > 0))]
    if wrong.size:
        why = f"the scale is {wrong[0]:g}; scales must be finite and above 0"
        fix = "give channels that are always 0 a small positive scale, in FP16 at least 6.1e-5"
        yield Finding(name, "scale-not-positive", "error", why, fix)
    if scale.dtype != np.float32:
        why = f"the scale is {scale.dtype}; the parser of 8.6 reads scales as float32"
        yield Finding(name, "half-scale", "error", why, "use the int8-trt8 graph of the bundle for TensorRT 8.6", _TRT8)


def _zero_points(graph: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    name, tensor = name_of(node), graph.input(node, 2)
    if not tensor:
        fix = "write an int8 zero point of 0"
        why = "it has no zero point; the parser of 8.6 requires three inputs"
        yield Finding(name, "missing-zero-point", "error", why, fix, _TRT8)
        if node.op_type == Q or graph.makers.get(node.input[0]) is not None:
            why = "it has no zero point: uint8 to ONNX and ONNX Runtime, int8 to TensorRT, so they compute different things"
            yield Finding(name, "missing-zero-point", "warning", why, fix, _SINCE_10)
        return
    zero = graph.constant(tensor)
    if zero is None:
        why = f"zero point {tensor} is computed; TensorRT takes only 0"
        yield Finding(name, "asymmetric", "error", why, "calibrate symmetrically, zero point 0")
        return
    if zero.dtype == np.uint8:
        fix = "calibrate for TensorRT: activations symmetric int8 (the int8 or int8-trt8 graph)"
        yield Finding(name, "unsigned", "error", "it quantises to uint8; TensorRT knows int8 only", fix)
    if np.any(zero.astype(np.int64) != 0):
        why = f"the zero point is {int(zero[zero != 0].flat[0])}; TensorRT quantises symmetrically, so it must be 0"
        yield Finding(name, "asymmetric", "error", why, "calibrate symmetrically, zero point 0")


def _weights(graph: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    name = name_of(node)
    if node.input[2:3] and node.input[2] and (bias := graph.dequantiser(node.input[2])) is not None:
        why = f"its bias comes from {name_of(bias)}; TensorRT dequantises no int32, and adds the bias in float"
        yield Finding(name, "quantised-bias", "error", why, "quantise with QuantizeBias False: the bias stays float")
    dequantise = graph.dequantiser(node.input[1])
    scale = None if dequantise is None else graph.scale(dequantise)
    if dequantise is None or scale is None or scale.size < 2:
        return
    weight = graph.constant(graph.source(dequantise))
    axis = graph.axis(dequantise, 4 if weight is None else weight.ndim)
    right = CHANNEL_AXIS[node.op_type]
    transposed = node.op_type == "ConvTranspose"
    if axis != right:
        # NVIDIA/TensorRT#1694 and #2380 (8.x) want axis 0 of ConvTranspose, ModelOpt writes 1.
        severity: Severity = "warning" if transposed and axis == 0 else "error"
        why = f"its weights have scales along axis {axis}; the output channels of {node.op_type} are axis {right}"
        fix = "quantise per tensor" if transposed else f"quantise the weights along axis {right}"
        yield Finding(name, "weight-axis", severity, why, fix)
    if transposed:
        why = "its weights are quantised per channel; sources conflict on whether and along which axis TensorRT builds that"
        fix = "fall back to one scale per tensor, then to FP16, where it does not build"
        yield Finding(name, "transposed-per-channel", "warning", why, fix, _TRT8)
        yield Finding(name, "transposed-per-channel", "note", why, fix, _SINCE_10)


def _activation(graph: QdqGraph, node: onnx.NodeProto) -> Iterator[Finding]:
    dequantise = graph.dequantiser(node.input[0])
    scale = None if dequantise is None else graph.scale(dequantise)
    if scale is not None and scale.size > 1:
        why = f"its input has {scale.size} scales; TensorRT convolves in INT8 with one scale per activation only"
        yield Finding(name_of(node), "per-axis-activation", "warning", why, "calibrate activations per tensor")


def _float_scales(graph: QdqGraph) -> Iterator[Finding]:
    """In a strongly typed network DQ hands on the type of its scale."""
    scales = [graph.constant(graph.input(n, 1)) for n in graph.nodes if n.op_type == DQ]
    if any(s is not None and s.dtype == np.float32 for s in scales):
        why = "scales are FP32, so in a strongly typed network everything that is not INT8 runs in FP32"
        fix = "use the int8 graph of the bundle, whose scales are FP16"
        yield Finding(WHOLE_GRAPH, "float-around-int8", "warning", why, fix, STRONGLY_TYPED)
