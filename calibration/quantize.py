"""Q/DQ graphs: explicit quantisation that TensorRT takes as it stands, and one that suits x86 processors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from jetspect.calibration.network import WEIGHTED, Network, groups_of
from jetspect.errors import CalibrationError

Ranges = Mapping[str, tuple[float, float]]
PER_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1}
# What lies between convolutions and is as good in integers, on processors.
_PASSING = ("MaxPool", "Concat", "Relu")


@dataclass(frozen=True)
class Plan:
    """Which convolutions become INT8, and with which scales.

    Attributes
    ----------
    nodes
        Names of the convolutions in INT8; everything else stays in floating point.
    ranges
        Lowest and highest value of every activation that they read, and of identities.
    shared
        Groups of activations that take one scale, for concatenations.
    """

    nodes: frozenset[str]
    ranges: Ranges
    shared: tuple[frozenset[str], ...] = field(default=())

    def without(self, nodes: Iterable[str]) -> Plan:
        """Return the plan with these convolutions left in floating point."""
        return Plan(self.nodes - set(nodes), self.ranges, self.shared)

    def only(self, nodes: Iterable[str]) -> Plan:
        """Return the plan with these convolutions in INT8 and no other."""
        return Plan(self.nodes & set(nodes), self.ranges, self.shared)


def quantised_activations(network: Network, nodes: Iterable[str]) -> tuple[str, ...]:
    """Return the activations that need a range when these convolutions become INT8."""
    chosen = set(nodes)
    data = [n.input[0] for n in network.nodes if n.name in chosen]
    identities = [t for _, t in residuals(network, chosen)]
    return tuple(dict.fromkeys([*data, *identities]))


def residuals(network: Network, nodes: Iterable[str]) -> list[tuple[str, str]]:
    """Return name of Add and its identity, for the residual Adds that a convolution in INT8 can take into itself."""
    chosen, found = set(nodes), []
    for node in network.nodes:
        identity = network.residual_branch(node)
        if identity is None:
            continue
        other = next(t for t in node.input if t != identity) if node.input[0] != node.input[1] else identity
        maker = network.makers.get(other)
        if maker is not None and maker.name in chosen and other != identity:
            found.append((node.name, identity))
    return found


def float_activations(network: Network) -> tuple[str, ...]:
    """Return the activations that a graph for processors may quantise: what convolutions and what lies between them make."""
    behind = _behind(network)
    nodes = [n for n in network.nodes if n.op_type in (*WEIGHTED, *_PASSING) and n.output[0] not in behind]
    tensors = dict.fromkeys(t for n in nodes for t in (n.input if n.op_type == "Concat" else n.input[:1]))
    heads = [n for n in network.nodes if n.name in network.heads]
    tensors |= dict.fromkeys([*(n.output[0] for n in nodes), *(n.input[0] for n in heads)])
    return tuple(t for t in tensors if t in network.floats)


def quantise(network: Network, plan: Plan, *, transposed_per_tensor: bool = False) -> bytes:
    """Return the graph with Q/DQ pairs for TensorRT, everything else FP32.

    Symmetric int8 with zero point 0: activations per tensor, weights per output channel; inputs of convolutions only, never
    their outputs; biases stay float; of a residual Add the identity alone.

    Parameters
    ----------
    transposed_per_tensor
        One scale for all weights of a transposed convolution: what TensorRT 8 builds.

    Raises
    ------
    CalibrationError
        A plan names nodes that are no convolutions, or lacks a range.
    """
    alone = _one_scale(n for n in network.nodes if n.name in plan.nodes and transposed_per_tensor)
    identities = dict(residuals(network, plan.nodes))
    _check(network, plan)
    # The quantiser wants a range for both branches of an Add; the pair on the convolution's is taken out again.
    stand_in = {t: (-1.0, 1.0) for n in network.nodes if n.name in identities for t in n.input}
    model = _run_quantiser(
        network,
        nodes=[*plan.nodes, *identities],
        ranges={**stand_in, **_shared(plan)},
        activations=QuantType.QInt8,
        options={
            "ActivationSymmetric": True,
            "AddQDQPairToWeight": True,
            "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": [*WEIGHTED, "Add"],
            **alone,
        },
    )
    _strip_convolution_branches(model, identities)
    return _finish(model)


def quantise_for_cpu(network: Network, plan: Plan) -> bytes:
    """Return the graph with Q/DQ pairs as ONNX Runtime's integer kernels for x86 want them.

    Activations unsigned with a zero point, weights of seven bits, outputs of convolutions quantised as well, biases int32.
    Not for TensorRT, which refuses zero points. ``plan.ranges`` needs every activation of the graph.
    """
    _check(network, plan)
    behind = _behind(network)
    passing = [n.name for n in network.nodes if n.op_type in _PASSING and n.output[0] in network.floats - behind]
    model = _run_quantiser(
        network,
        nodes=[*plan.nodes, *passing],
        ranges=plan.ranges,
        activations=QuantType.QUInt8,
        # Products of unsigned and signed bytes are added in pairs in 16 bits where there is no VNNI, and would saturate.
        seven_bits=True,
        options={
            "ActivationSymmetric": False,
            "AddQDQPairToWeight": False,
            "QuantizeBias": True,
            # The quantiser takes a bias in groups for one of fewer channels.
            **_one_scale(n for n in network.nodes if n.name in plan.nodes and groups_of(n) > 1),
        },
    )
    return _finish(model)


def _run_quantiser(
    network: Network,
    *,
    nodes: list[str],
    ranges: Ranges,
    activations: QuantType,
    options: dict[str, Any],
    seven_bits: bool = False,
) -> onnx.ModelProto:
    data = {
        tensor: TensorData(lowest=np.float32(low), highest=np.float32(high)) for tensor, (low, high) in ranges.items()
    }
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    quantiser = QDQQuantizer(
        model,
        True,  # per channel
        seven_bits,
        QuantType.QInt8,
        activations,
        TensorsData(CalibrationMethod.MinMax, data),
        nodes,
        [],
        [*WEIGHTED, "Add", "MaxPool", "Concat", "Relu"],
        {
            "WeightSymmetric": True,
            "ForceQuantizeNoInputCheck": True,
            "QDQDisableWeightAdjustForInt32Bias": True,
            "DedicatedQDQPair": False,
            "QDQOpTypePerChannelSupportToAxis": PER_CHANNEL_AXIS,
            **options,
        },
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    quantised: onnx.ModelProto = quantiser.model.model
    return quantised


def _one_scale(nodes: Iterable[onnx.NodeProto]) -> dict[str, Any]:
    """Return the option that gives each transposed convolution among the nodes one scale for all its weights."""
    alone = {
        n.input[1]: [{"quant_type": QuantType.QInt8, "symmetric": True}] for n in nodes if n.op_type == "ConvTranspose"
    }
    return {"TensorQuantOverrides": alone} if alone else {}


def _shared(plan: Plan) -> dict[str, tuple[float, float]]:
    ranges = dict(plan.ranges)
    for group in plan.shared:
        known = [ranges[t] for t in group if t in ranges]
        both = min(low for low, _ in known), max(high for _, high in known)
        ranges |= {t: both for t in group if t in ranges}
    return ranges


def _strip_convolution_branches(model: onnx.ModelProto, identities: Mapping[str, str]) -> None:
    """Let the convolution's branch go into a residual Add as it comes; the quantiser quantises both."""
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        identity = identities.get(node.name)
        if identity is None:
            continue
        for position, tensor in enumerate(node.input):
            source = _source(makers, tensor)
            if source != identity:
                node.input[position] = source


def _source(makers: Mapping[str, onnx.NodeProto], tensor: str) -> str:
    """Return the tensor before a Q/DQ pair."""
    dequantise = makers.get(tensor)
    if dequantise is None or dequantise.op_type != "DequantizeLinear":
        return tensor
    quantise = makers.get(dequantise.input[0])
    return tensor if quantise is None or quantise.op_type != "QuantizeLinear" else str(quantise.input[0])


def _finish(model: onnx.ModelProto) -> bytes:
    drop_unused(model)
    model.producer_name = "jetspect"
    # The quantiser notes its own domains even where it used none of their operators.
    used = {node.domain for node in model.graph.node}
    kept = [o for o in model.opset_import if o.domain in used or o.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and constants that nothing reads, in place."""
    graph = model.graph
    while True:
        read = {t for node in graph.node for t in node.input} | {o.name for o in graph.output}
        idle = [i for i, node in enumerate(graph.node) if not any(o in read for o in node.output)]
        if not idle:
            break
        for index in reversed(idle):
            del graph.node[index]
    for index in reversed([i for i, c in enumerate(graph.initializer) if c.name not in read]):
        del graph.initializer[index]


def _behind(network: Network) -> set[str]:
    """Return the tensors behind the last convolution, on the way to the answer."""
    reached = {n.output[0] for n in network.nodes if n.name in network.heads}
    for node in network.nodes:
        if reached & set(node.input):
            reached.update(node.output)
    return reached


def _check(network: Network, plan: Plan) -> None:
    convolutions = {n.name for n in network.nodes if n.op_type in WEIGHTED}
    if unknown := sorted(plan.nodes - convolutions):
        raise CalibrationError(f"no convolution is called {unknown[0]!r}; take names from Network.convolutions")
    missing = [t for t in quantised_activations(network, plan.nodes) if t not in plan.ranges]
    if missing:
        raise CalibrationError(f"no range was measured for activation {missing[0]!r}; calibrate with all of them")
