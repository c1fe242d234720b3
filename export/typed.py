"""Types written into the graph: FP16 everywhere between the image and the probabilities, so that nothing is left to flags."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, numpy_helper

from jetspect.errors import ExportError

# Q and DQ take FP16 from here on.
HALF_OPSET = 19
_PREPARE = ("Transpose", "Cast", "Mul", "Add", "Sub", "Div")
_ANSWER = ("Cast", "Clip", "Add", "Mul", "Min", "Max", "Sigmoid", "Softmax", "Resize")
# These inputs are float32 whatever the type of the data: (operator, position).
_ALWAYS_FLOAT = {("Resize", 1), ("Resize", 2)}
# TensorRT refuses a scale of 0, and a smaller half may become one.
_LEAST_SCALE = float(np.finfo(np.float16).smallest_normal)
_HALF_MAX = float(np.finfo(np.float16).max)


def to_half(graph: bytes) -> bytes:
    """Return an FP32 graph, with or without Q/DQ pairs, with FP16 between normalisation and activation.

    The ends stay FP32: the image is normalised and the probability is made at full precision. Scales of Q and DQ become FP16
    too, which needs opset 19.

    Raises
    ------
    ExportError
        A constant does not fit into FP16.
    """
    model = onnx.load_from_string(graph)
    nodes = list(model.graph.node)
    head, tail = _ends(model, nodes)
    inside = [n for n in nodes if n.name not in head | tail]
    _halve_constants(model, inside)
    for node in inside:
        _halve_attributes(node)
    made = {o for n in inside for o in n.output}
    _cast_borders(model, inside, {o for n in nodes if n.name in head for o in n.output}, TensorProto.FLOAT16)
    _cast_borders(model, [n for n in nodes if n.name in tail], made, TensorProto.FLOAT)
    _outputs_of(model, made)
    _sort(model)
    if any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in model.graph.node):
        for opset in model.opset_import:
            if opset.domain in ("", "ai.onnx"):
                opset.version = max(opset.version, HALF_OPSET)
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def float_types(graph: bytes) -> dict[str, int]:
    """Return the element type of every float tensor, walked from node to node.

    Raises
    ------
    ExportError
        A node mixes float types: the graph is not strongly typed.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph), check_type=True, strict_mode=True)
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    types = {v.name: v.type.tensor_type.elem_type for v in values} | {
        i.name: i.data_type for i in model.graph.initializer
    }
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    for node in model.graph.node:
        if node.op_type == "Cast":
            continue
        read = [t for position, t in enumerate(node.input) if (node.op_type, position) not in _ALWAYS_FLOAT]
        used = {types[t] for t in (*read, *node.output) if types.get(t) in floats}
        if len(used) > 1:
            names = ", ".join(sorted(TensorProto.DataType.Name(t) for t in used))
            raise ExportError(
                f"{node.op_type} {node.name} mixes {names}; TensorRT refuses that in a strongly typed "
                "network; put a Cast between"
            )
    return {name: kind for name, kind in types.items() if kind in floats}


def _ends(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> tuple[set[str], set[str]]:
    """Return the names of the nodes that prepare the image, and of those that make the answer from the logits."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for tensor in node.input:
            users.setdefault(tensor, []).append(node)
    makers = {o: n for n in nodes for o in n.output}
    head: set[str] = set()
    tensor = model.graph.input[0].name
    while len(users.get(tensor, [])) == 1 and users[tensor][0].op_type in _PREPARE:
        node = users[tensor][0]
        if any(t != tensor and t in makers and makers[t].op_type != "Constant" for t in node.input):
            break
        head.add(node.name)
        tensor = node.output[0]
    tail: set[str] = set()
    for output in model.graph.output:
        maker = makers.get(output.name)
        activated = False
        while maker is not None and maker.op_type in _ANSWER and not (activated and maker.op_type != "Resize"):
            activated |= maker.op_type in ("Sigmoid", "Softmax")
            tail.add(maker.name)
            maker = makers.get(maker.input[0])
    return head, tail - head


def _halve_constants(model: onnx.ModelProto, inside: list[onnx.NodeProto]) -> None:
    """Give the nodes FP16 copies of their float constants; what the ends read as well stays."""
    floats = {i.name: i for i in model.graph.initializer if i.data_type == TensorProto.FLOAT}
    halves: dict[str, str] = {}
    for node in inside:
        for position, tensor in enumerate(node.input):
            if tensor not in floats or (node.op_type, position) in _ALWAYS_FLOAT:
                continue
            if tensor not in halves:
                halves[tensor] = f"{tensor}_fp16"
                scale = node.op_type in ("QuantizeLinear", "DequantizeLinear") and position == 1
                array = _half(numpy_helper.to_array(floats[tensor]), tensor, smallest=_LEAST_SCALE if scale else 0.0)
                model.graph.initializer.append(numpy_helper.from_array(array, halves[tensor]))
            node.input[position] = halves[tensor]
    read = {t for n in model.graph.node for t in n.input}
    for index in reversed([i for i, c in enumerate(model.graph.initializer) if c.name not in read]):
        del model.graph.initializer[index]


def _halve_attributes(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            array = _half(numpy_helper.to_array(attribute.t), node.name)
            attribute.t.CopyFrom(numpy_helper.from_array(array, attribute.t.name))


def _half(array: npt.NDArray[Any], name: str, *, smallest: float = 0.0) -> npt.NDArray[np.float16]:
    large = np.abs(array[np.abs(array) > _HALF_MAX])
    # Masks are often filled with the lowest float there is: the lowest half does the same.
    if not np.isin(large, (np.finfo(np.float32).max, np.inf)).all():
        raise ExportError(
            f"constant {name!r} reaches {large.max():.3g}, beyond what FP16 holds ({_HALF_MAX:g}); rescale the layer, or "
            "leave this model at FP32"
        )
    return np.asarray(np.clip(np.maximum(array, smallest) if smallest else array, -_HALF_MAX, _HALF_MAX), np.float16)


def _cast_borders(model: onnx.ModelProto, readers: list[onnx.NodeProto], outside: set[str], to: int) -> None:
    """Put one Cast behind every float tensor made outside that the readers take."""
    known = onnx.shape_inference.infer_shapes(model)
    kinds = {v.name: v.type.tensor_type.elem_type for v in known.graph.value_info}
    casts: dict[str, str] = {}
    for node in readers:
        for position, tensor in enumerate(node.input):
            if tensor not in outside or kinds.get(tensor, TensorProto.FLOAT) not in (
                TensorProto.FLOAT,
                TensorProto.FLOAT16,
            ):
                continue
            if tensor not in casts:
                casts[tensor] = f"{tensor}_cast"
                model.graph.node.append(
                    onnx.helper.make_node("Cast", [tensor], [casts[tensor]], name=f"cast_{tensor}", to=to)
                )
            node.input[position] = casts[tensor]


def _outputs_of(model: onnx.ModelProto, made: set[str]) -> None:
    """A float output that the FP16 part makes itself is cast back, under its own name."""
    for output in model.graph.output:
        if output.name not in made or output.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        inner = f"{output.name}_fp16"
        for node in model.graph.node:
            for names in (node.input, node.output):
                for position, tensor in enumerate(names):
                    if tensor == output.name:
                        names[position] = inner
        cast = onnx.helper.make_node("Cast", [inner], [output.name], name=f"cast_{inner}", to=TensorProto.FLOAT)
        model.graph.node.append(cast)


def _sort(model: onnx.ModelProto) -> None:
    """Bring the nodes into an order in which every tensor is made before it is read."""
    known = {i.name for i in (*model.graph.initializer, *model.graph.input)} | {""}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        ready = [n for n in waiting if all(t in known for t in n.input)]
        if not ready:
            raise ExportError("the graph has a cycle; export the bundle again")
        # One after the other, so that nodes keep their order as far as they can.
        node = ready[0]
        ordered.append(node)
        known.update(node.output)
        waiting.remove(node)
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in ordered]
    del model.graph.node[:]
    model.graph.node.extend(copies)
