"""What the ONNX parsers of TensorRT take: operators, opsets and types, for graphs of any precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from jetspect.errors import ExportError
from jetspect.export.typed import float_types

Severity = Literal["error", "warning", "note"]
TARGETS = ("8.6", "10.3", "10.13", "11")
STRONGLY_TYPED = ("10.13", "11")
STANDARD = ("", "ai.onnx")
WHOLE_GRAPH = "(graph)"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Highest opset. 8.6: NVIDIA's DLA operator list; 11: the release notes of 11.5, which says it adds 25. Inferred: 10.13 (22 in
# 10.6's docs/operators.md, 24 in 10.15's) and 10.3 (between 17 and 22; 20 is plausible, no document says it).
MAX_OPSET = {"8.6": 17, "10.3": 20, "10.13": 22, "11": 24}
_GUESSED_OPSET = ("10.3",)

# From docs/operators.md of onnx/onnx-tensorrt for 8.5, 10.6 and 10.15, and its Changelog.md. There is no such table for 8.6,
# 10.3 or 10.13 themselves: they are inferred from the neighbours and the changelog; 11 is taken to be 10.15.
_NOWHERE = _names(
    "ConvInteger MatMulInteger QLinearConv QLinearMatMul DynamicQuantizeLinear MaxUnpool MaxRoiPool Det Bernoulli Unique "
    "StringNormalizer BitShift Compress Multinomial NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss TfIdfVectorizer DFT "
    "MelWeightMatrix Optional OptionalGetElement OptionalHasElement ConcatFromSequence SplitToSequence SequenceAt "
    "SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap AffineGrid BitwiseAnd BitwiseOr "
    "BitwiseXor BitwiseNot CenterCropPad Col2Im ImageDecoder RegexFullMatch StringConcat StringSplit"
)
_WINDOWS = _names("BlackmanWindow HammingWindow HannWindow STFT")  # 10.4 and 10.5
_RECENT = _names("Attention RMSNormalization RotaryEmbedding TensorScatter")  # 10.14 and 10.15
REFUSED = {
    "8.6": _NOWHERE | _WINDOWS | _RECENT | {"DeformConv", "Hardmax"},  # those two: 10.1 and 9.2
    "10.3": _NOWHERE | _WINDOWS | _RECENT,
    "10.13": _NOWHERE | _RECENT,
    "11": _NOWHERE,
}
# In no table, but in no changelog either, so a parser may have them.
UNLISTED = {
    "8.6": _names("Mish Gelu CastLike Swish"),
    "10.3": frozenset({"Swish"}),
    "10.13": frozenset({"Swish"}),
    "11": frozenset({"Swish"}),
}


@dataclass(frozen=True)
class Finding:
    """One thing that keeps a graph from building, or from being faster in INT8.

    Attributes
    ----------
    node
        Name of the node; ``(graph)`` where it is about all of them.
    rule
        What was looked for, in kebab-case.
    severity
        error: it does not build or computes something else; warning: it builds but slower, or may not build; note: good to
        know.
    targets
        Versions of TensorRT that it is about.
    """

    node: str
    rule: str
    severity: Severity
    why: str
    fix: str
    targets: tuple[str, ...] = TARGETS


def name_of(node: onnx.NodeProto) -> str:
    """Return the name of a node, or of what it makes where it has none."""
    return str(node.name or next(iter(node.output), node.op_type))


def parser_findings(model: onnx.ModelProto) -> Iterator[Finding]:
    """Yield what is wrong with a graph of any precision."""
    nodes = list(all_nodes(model.graph))
    yield from _operators(nodes)
    yield from _options(nodes)
    yield from _opset(model, nodes)
    if all(n.domain in STANDARD for n in nodes):
        yield from _types(model)
        yield from _unsigned_bytes(model)


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph, and of the branches and loop bodies inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from all_nodes(inner)


def _operators(nodes: list[onnx.NodeProto]) -> Iterator[Finding]:
    for node in nodes:
        if node.domain not in STANDARD:
            yield Finding(
                name_of(node),
                "foreign-operator",
                "error",
                f"{node.domain}.{node.op_type} is no operator of ONNX itself; TensorRT has it as a plugin at best",
                "export the model without custom operators",
            )
            continue
        if refused := tuple(t for t in TARGETS if node.op_type in REFUSED[t] or not onnx.defs.has(node.op_type)):
            yield Finding(
                name_of(node),
                "unsupported-operator",
                "error",
                f"the parser has no {node.op_type}",
                f"replace {node.op_type} in the model by operators that TensorRT has",
                refused,
            )
        if unlisted := tuple(t for t in TARGETS if node.op_type in UNLISTED[t]):
            yield Finding(
                name_of(node),
                "unlisted-operator",
                "warning",
                f"NVIDIA's table of operators does not list {node.op_type}, so it may not parse",
                f"try it on the device, or write {node.op_type} out in simpler operators",
                unlisted,
            )


def _options(nodes: list[onnx.NodeProto]) -> Iterator[Finding]:
    for node in nodes:
        options = {a.name: a for a in node.attribute}
        if node.op_type == "Resize" and "mode" in options and options["mode"].s == b"cubic":
            # The tables up to 10.15 list nearest and linear only; NVIDIA/TensorRT#4846 builds a cubic one with 11.1.
            yield Finding(
                name_of(node),
                "cubic-resize",
                "warning",
                "NVIDIA's table lists Resize with modes nearest and linear only; cubic may not parse",
                "interpolate linearly, or try it on the device",
            )
        if node.op_type == "Resize" and "antialias" in options and options["antialias"].i:
            yield Finding(
                name_of(node), "antialias-resize", "error", "Resize has no antialias = 1", "export without antialias"
            )
        if node.op_type == "MaxPool" and len(node.output) > 1 and node.output[1]:
            yield Finding(
                name_of(node),
                "max-pool-indices",
                "error",
                "MaxPool has no second output Indices",
                "upsample without the indices, by Resize or ConvTranspose",
            )


def _opset(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> Iterator[Finding]:
    opset = max((o.version for o in model.opset_import if o.domain in STANDARD), default=1)
    for target in TARGETS:
        limit = MAX_OPSET[target]
        if opset <= limit:
            continue
        operators = sorted({n.op_type for n in nodes if n.domain in STANDARD})
        changed = [o for o in operators if _since(o, opset) != _since(o, limit)]
        guessed = target in _GUESSED_OPSET
        what = f"the graph has opset {opset}, TensorRT {target} {'probably ' if guessed else ''}parses up to {limit}"
        if opset > onnx.defs.onnx_opset_version():
            why = f"{what}; onnx {onnx.__version__} does not know that opset, so what changed cannot be told"
            severity: Severity = "warning" if guessed else "error"
        elif not changed:
            why = f"{what}; every operator in it is defined as in {limit}, so it is likely to parse nevertheless"
            severity = "note"
        else:
            why = f"{what}, and these operators changed since: {', '.join(changed)}"
            severity = "warning" if guessed else "error"
        fix = f"export with opset {limit} or lower for this version, or use a newer TensorRT"
        yield Finding(WHOLE_GRAPH, "opset-too-new", severity, why, fix, (target,))


def _since(operator: str, opset: int) -> int | None:
    """Return the opset that defined an operator as it stands in a later one; None where it did not exist yet."""
    try:
        return int(onnx.defs.get_schema(operator, max_inclusive_version=opset).since_version)
    except onnx.defs.SchemaError:
        return None


def _types(model: onnx.ModelProto) -> Iterator[Finding]:
    try:
        float_types(model.SerializeToString())
    except (ExportError, onnx.shape_inference.InferenceError) as error:
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
        marks = {n.name: (f"{n.op_type} {n.name} mixes", f"node name: {n.name})") for n in model.graph.node if n.name}
        name = next((n for n, (ours, theirs) in marks.items() if why.startswith(ours) or theirs in why), WHOLE_GRAPH)
        if isinstance(error, ExportError) or "tensor(" in why or "TypeInferenceError" in why:
            fix = "give every node inputs of one float type, with a Cast where the type is to change"
            yield Finding(name, "mixed-float-types", "error", why, fix, STRONGLY_TYPED)
        else:
            yield Finding(
                name, "inconsistent-graph", "error", why, "export the model again; the graph contradicts itself"
            )


def _unsigned_bytes(model: onnx.ModelProto) -> Iterator[Finding]:
    """uint8 exists at the borders of a TensorRT network only, behind or before a Cast.

    NVIDIA's page on DataType.UINT8 (8.6.1 to 10.15) and the maintainers in NVIDIA/TensorRT#3985: "No other layers support
    UINT8 inputs, even just data-movement ops like reshape / transpose". There 10.1 made a network without outputs of it; not
    tried here, hence a warning.
    """
    try:
        known = onnx.shape_inference.infer_shapes(model)
    except onnx.shape_inference.InferenceError:
        return
    values = (*known.graph.value_info, *known.graph.input)
    made_u8 = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.UINT8}
    made_u8 -= {o for n in model.graph.node if n.op_type == "QuantizeLinear" for o in n.output}
    made_u8 -= {o for n in model.graph.node if n.op_type == "Constant" for o in n.output}
    made_u8 -= {i.name for i in model.graph.initializer}
    for node in model.graph.node:
        read = [t for t in node.input if t in made_u8]
        if read and node.op_type not in ("Cast", "Identity"):
            yield Finding(
                name_of(node),
                "uint8-before-cast",
                "error",
                f"{node.op_type} reads uint8 tensor {read[0]}; NVIDIA says that a uint8 input must feed a Cast, and that "
                "no other layer takes it, not even Transpose (NVIDIA/TensorRT#3985), so the network may not build",
                f"cast to float first, then {node.op_type}: x.float().permute(...), not x.permute(...).float()",
            )
