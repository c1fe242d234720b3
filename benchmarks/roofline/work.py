"""What one run of a graph has to do: multiplications and bytes, from the shapes in its ONNX file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from jetspect.errors import InputError, MissingDependencyError


@dataclass(frozen=True)
class Work:
    """Of one run.

    Attributes
    ----------
    macs
        Multiply-accumulates of convolutions and matrix products; what else there is counts for little.
    border_bytes
        Input, output and weights once: what moves even where everything between stays in the cache.
    held_bytes
        What the largest step reads and writes, in single precision: the least memory that a run needs.
    """

    macs: int
    border_bytes: int
    held_bytes: int


def work_of(graph: bytes, shape_nhwc: tuple[int, int, int, int]) -> Work:
    """Count the work of a graph for an input of a shape.

    Raises
    ------
    MissingDependencyError
        onnx is not installed.
    InputError
        The graph has a shape that depends on more than its input's size.
    """
    try:
        import onnx
        from onnx import numpy_helper, shape_inference
    except ImportError as error:
        raise MissingDependencyError(
            "onnx", "counting a graph's operations", "pip install 'jetspect[export]'"
        ) from error
    model = onnx.load_from_string(graph)
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape_nhwc, strict=True):
        dim.dim_value = size
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")  # its symbols would say less than what is inferred now
    known = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: _dims(v) for v in (*known.value_info, *known.input, *known.output)}
    weights = {w.name: numpy_helper.to_array(w) for w in known.initializer}
    shapes |= {name: tuple(w.shape) for name, w in weights.items()}
    ends = [math.prod(_shape(shapes, v.name)) for v in (*known.input, *known.output)]
    return Work(
        macs=sum(_macs(node, shapes) for node in known.node),
        border_bytes=sum(ends) + sum(w.nbytes for w in weights.values()),
        held_bytes=max((_held(node, shapes) for node in known.node), default=0),
    )


def _held(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(4 * math.prod(shapes[name]) for name in (*node.input, *node.output) if shapes.get(name))


def _macs(node: Any, shapes: dict[str, tuple[int, ...]]) -> int:
    kind = node.op_type
    if kind == "Conv":
        weight = _shape(shapes, node.input[1])
        return math.prod(_shape(shapes, node.output[0])) * math.prod(weight[1:])
    if kind == "ConvTranspose":
        weight = _shape(shapes, node.input[1])
        return math.prod(_shape(shapes, node.input[0])) * math.prod(weight[1:])
    if kind in ("MatMul", "Gemm"):
        turned = any(a.name == "transA" and a.i for a in node.attribute)
        return math.prod(_shape(shapes, node.output[0])) * _shape(shapes, node.input[0])[-2 if turned else -1]
    return 0


def _shape(shapes: dict[str, tuple[int, ...]], name: str) -> tuple[int, ...]:
    found = shapes.get(name, ())
    if not found or not all(found):
        raise InputError(f"the shape of {name} does not follow from the size of the input; its work cannot be counted")
    return found


def _dims(value: Any) -> tuple[int, ...]:
    return tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)
