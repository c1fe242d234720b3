"""Why a graph would not be faster in INT8 on TensorRT, or would not build there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnx

from jetspect.calibration.lint_rules import DQ, MOVING, Q, QdqGraph, pair_findings
from jetspect.calibration.network import STEM, THIN, WEIGHTED
from jetspect.calibration.trt_support import (
    TARGETS,
    WHOLE_GRAPH,
    Finding,
    Severity,
    all_nodes,
    name_of,
    parser_findings,
)
from jetspect.errors import InputError

__all__ = ["MEANT_FOR", "TARGETS", "Finding", "Severity", "lint"]
# What the graphs of a bundle are made for; the others are for every version.
MEANT_FOR = {"int8": ("10.3", "10.13", "11"), "int8-trt8": ("8.6",)}
_ORDER: tuple[Severity, ...] = ("error", "warning", "note")
_MULTIPLE = 8


def lint(graph: bytes, *, targets: Sequence[str] = TARGETS, precision: str) -> tuple[Finding, ...]:
    """Return what keeps a graph from building, or from being fast, on these versions of TensorRT; the worst first.

    Nothing is run: the rules come from NVIDIA's documentation, its parser and reports. A graph without Q/DQ pairs is looked at
    for operators, opset and types only.

    Parameters
    ----------
    graph
        ONNX bytes, with all data inside.
    precision
        What the graph is in its bundle. ``int8-cpu`` is meant to be unsigned, so there is one note and no more.

    Raises
    ------
    InputError
        No version, an unknown one, or no ONNX graph.
    """
    if unknown := [t for t in targets if t not in TARGETS]:
        raise InputError(f"TensorRT {unknown[0]!r} is not known here; use one of {', '.join(TARGETS)}")
    if not targets:
        raise InputError(f"name at least one version of TensorRT: {', '.join(TARGETS)}")
    chosen = tuple(t for t in TARGETS if t in targets)
    if precision == "int8-cpu":
        why = "this graph is made for x86 processors: unsigned activations, which TensorRT refuses"
        fix = "use the int8 graph, or int8-trt8 for TensorRT 8.6"
        return (Finding(WHOLE_GRAPH, "not-for-tensorrt", "note", why, fix, chosen),)
    model = _parse(graph)
    found = [
        replace(finding, targets=concerned)
        for finding in _findings(model, precision)
        if (concerned := tuple(t for t in finding.targets if t in chosen))
    ]
    # Stable, so nodes keep the order of the graph.
    return tuple(sorted(found, key=lambda f: (_ORDER.index(f.severity), f.rule)))


def _parse(graph: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_from_string(graph)
    except Exception as error:  # protobuf's DecodeError, which comes without types
        raise InputError(f"this is no ONNX graph ({error}); give a .onnx file or a bundle") from error
    if not model.graph.node:
        raise InputError("this is no ONNX graph, or one without nodes; give a .onnx file or a bundle")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise InputError(f"the graph keeps {tensor.name} in another file; save it as one file")
    return model


def _findings(model: onnx.ModelProto, precision: str) -> Iterator[Finding]:
    yield from parser_findings(model)
    if any(n.op_type in (Q, DQ) for n in all_nodes(model.graph)):
        graph = QdqGraph(model)
        yield from pair_findings(graph)
        yield from _convolutions(graph)
        yield from _residuals(graph)
        yield from _after_convolutions(graph)
        yield from _concats(graph)
    elif precision in MEANT_FOR:
        why = f"it is called {precision}, and holds no Q/DQ pair: nothing of it runs in INT8"
        yield Finding(WHOLE_GRAPH, "not-quantised", "warning", why, "calibrate the bundle again")


def _convolutions(graph: QdqGraph) -> Iterator[Finding]:
    behind_image = _without_convolution_before(graph)
    for node in graph.weighted:
        name = name_of(node)
        for tensor in node.input[:2]:
            maker = graph.makers.get(tensor)
            if maker is not None and maker.op_type == "Cast" and graph.dequantiser(tensor) is not None:
                why = (
                    f"Cast {name_of(maker)} stands between it and its DQ, so TensorRT does not see an INT8 convolution"
                )
                fix = "give DQ a scale of the type that the convolution has, and take the Cast out"
                yield Finding(name, "cast-before-convolution", "warning", why, fix)
        data, weight = (graph.is_quantised(t) for t in node.input[:2])
        if data != weight:
            has, lacks = ("input", "weights") if data else ("weights", "input")
            why = f"its {has} have Q/DQ and its {lacks} not, so it runs in floating point and Q/DQ cost on top"
            yield Finding(name, "half-quantised", "warning", why, f"quantise its {lacks} too, or neither")
        if data and weight:
            yield from _channels(graph, node, stem=node.input[0] in behind_image)


def _channels(graph: QdqGraph, node: onnx.NodeProto, *, stem: bool) -> Iterator[Finding]:
    name, dequantise = name_of(node), graph.dequantiser(node.input[1])
    weight = None if dequantise is None else graph.constant(graph.source(dequantise))
    if weight is None or weight.ndim < 2:
        return
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    transposed = node.op_type == "ConvTranspose"
    inside, outside = (weight.shape[0], weight.shape[1]) if transposed else (weight.shape[1], weight.shape[0])
    inside, outside = (inside, outside * group) if transposed else (inside * group, outside)
    counted = [outside] if stem and inside <= STEM else [inside, outside]
    size = f"it has {inside} channels in and {outside} out"
    if min(counted) < THIN:
        why = f"{size}; below {THIN} INT8 is slower than FP16"
        yield Finding(name, "thin-convolution", "warning", why, "leave it in FP16, or widen the layer")
    elif any(c % _MULTIPLE for c in counted):
        why = f"{size}; what is no multiple of {_MULTIPLE} is padded"
        yield Finding(name, "odd-channels", "warning", why, f"make its channels multiples of {_MULTIPLE}, 32 is best")
    if transposed and group > 1:
        # NVIDIA/TensorRT#1934: 8.4 wanted 4 channels a group, resolved by 10.9.
        why = f"{node.op_type} has {group} groups; INT8 kernels for that are missing or slow"
        yield Finding(name, "grouped-transposed", "warning", why, "leave it in FP16", ("8.6", "10.3"))
        yield Finding(name, "grouped-transposed", "note", why, "compare it with FP16 on the device", ("10.13", "11"))


def _residuals(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type != "Add" or len(set(node.input)) != 2:
            continue
        pairs = [graph.dequantiser(t) for t in node.input]
        sources = [graph.source(p) for p in pairs if p is not None]
        if len(sources) == 2 and any(_ends_in_convolution(graph, s) for s in sources):
            why = (
                "both its inputs have Q/DQ; the pair behind the convolution keeps TensorRT from fusing the Add into it"
            )
            fix = "quantise the identity only, and let the convolution's branch come as it is"
            yield Finding(name_of(node), "residual-both-quantised", "warning", why, fix)


def _after_convolutions(graph: QdqGraph) -> Iterator[Finding]:
    """Find Q/DQ pairs on what a convolution makes that no other convolution reads."""
    for node in graph.nodes:
        if node.op_type != Q or not _ends_in_convolution(graph, node.input[0]):
            continue
        lost = next(
            (t for d in graph.users.get(node.output[0], ()) for t in d.output if _ends_in_float(graph, t)), None
        )
        if lost is not None:
            reader = next((u for u in graph.users.get(lost, ()) if u.op_type not in WEIGHTED), None)
            behind = "the output of the graph" if reader is None else f"{reader.op_type} {name_of(reader)}"
            why = f"it quantises what a convolution makes for {behind}; that breaks the fusion of the two"
            fix = "take the pair out: quantise what convolutions read, behind their activation"
            yield Finding(name_of(node), "qdq-after-convolution", "warning", why, fix)


def _ends_in_float(graph: QdqGraph, tensor: str) -> bool:
    """Say whether a dequantised tensor reaches anything but convolutions, other Qs and Adds that it is the identity of."""
    if tensor in graph.outputs:
        return True
    for user in graph.users.get(tensor, ()):
        if user.op_type == "Add":
            # An Add with two pairs is a finding of its own.
            other = next((t for t in user.input if t != tensor), tensor)
            fine = graph.dequantiser(other) is not None or _ends_in_convolution(graph, other)
        elif user.op_type in (*MOVING, "Cast"):
            fine = not any(_ends_in_float(graph, t) for t in user.output if t)
        else:
            fine = user.op_type in (*WEIGHTED, Q)
        if not fine:
            return True
    return False


def _concats(graph: QdqGraph) -> Iterator[Finding]:
    for node in graph.nodes:
        if node.op_type != "Concat":
            continue
        scales: set[str] = set()
        for tensor in (*node.input, *node.output):
            dequantise = graph.dequantiser(tensor)
            readers = [u for u in graph.users.get(tensor, ()) if u.op_type == Q]
            for face in readers if dequantise is None else [dequantise]:
                scale = graph.scale(face)
                if scale is not None and scale.size == 1:
                    scales.add(f"{float(np.ravel(scale)[0]):.4g}")
        if len(scales) > 1:
            why = f"what it joins and what reads it is quantised with scales {', '.join(sorted(scales))}: it is requantised"
            fix = "one shared scale is faster and less accurate; calibration decides that on accuracy: leave it, or measure"
            yield Finding(name_of(node), "concat-scales", "note", why, fix)


def _ends_in_convolution(graph: QdqGraph, tensor: str) -> bool:
    node = graph.makers.get(tensor)
    while node is not None and node.op_type == "BatchNormalization":
        node = graph.makers.get(node.input[0])
    return node is not None and node.op_type in WEIGHTED


def _without_convolution_before(graph: QdqGraph) -> set[str]:
    """Return the tensors that no convolution had a part in: the image, normalised."""
    clean = {i.name for i in graph.model.graph.input} | {i.name for i in graph.model.graph.initializer} | {""}
    for node in graph.nodes:
        if node.op_type not in WEIGHTED and all(t in clean for t in node.input):
            clean.update(node.output)
    return clean
