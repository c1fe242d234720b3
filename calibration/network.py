"""What a graph is made of, as far as quantising it is concerned: its convolutions, their cost, and who feeds whom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper

from jetspect.calibration.activations import Activations
from jetspect.errors import CalibrationError

U8 = npt.NDArray[np.uint8]
WEIGHTED = ("Conv", "ConvTranspose")
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "ConvInteger", "QLinearConv", "DynamicQuantizeLinear")
# Thinner convolutions are slower in INT8 than in FP16: tensor cores work on 16 channels and more.
THIN = 16
# The first convolution sees the image: few channels in cannot be helped, and it costs much.
STEM = 4
# They choose or move values, so one scale serves both sides.
MOVES = ("MaxPool", "Identity", "Transpose", "Reshape", "Slice")


@dataclass(frozen=True)
class Weighted:
    """One convolution.

    Attributes
    ----------
    name
        Of the node.
    block
        What is quantised or kept together: the module it comes from, without the position in a sequence.
    data
        The activation that it reads.
    macs
        Multiply-adds for the tile it was measured on.
    keep
        Why it stays in FP16 from the start; empty: it may be quantised.
    """

    name: str
    op: str
    block: str
    data: str
    channels_in: int
    channels_out: int
    group: int
    macs: int
    keep: str


class Network:
    """A graph with an index of makers and users of every tensor.

    Raises
    ------
    CalibrationError
        It holds quantised nodes already, nodes of another domain than ONNX's own, or no convolution.
    """

    def __init__(self, graph: bytes) -> None:
        self.graph = graph
        self.model = onnx.load_from_string(graph)
        self.nodes = list(self.model.graph.node)
        self.constants = {i.name for i in self.model.graph.initializer}
        self.constants |= {n.output[0] for n in self.nodes if n.op_type == "Constant"}
        self.makers = {output: node for node in self.nodes for output in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for tensor in node.input:
                self.users.setdefault(tensor, []).append(node)
        self._check()

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the constants."""
        return {i.name: tuple(i.dims) for i in self.model.graph.initializer}

    @cached_property
    def floats(self) -> frozenset[str]:
        """Names of the float32 tensors that nodes make; the others count, compare, or hold shapes."""
        known = onnx.shape_inference.infer_shapes(self.model).graph
        values = (*known.value_info, *known.output)
        return frozenset(v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT)

    @cached_property
    def heads(self) -> frozenset[str]:
        """Names of the convolutions behind which there is no other one: they make the logits."""
        found: set[str] = set()
        todo, seen = [o.name for o in self.model.graph.output], set()
        while todo:
            tensor = todo.pop()
            node = self.makers.get(tensor)
            if node is None or tensor in seen:
                continue
            seen.add(tensor)
            if node.op_type in WEIGHTED:
                found.add(node.name)
            else:
                todo += [t for t in node.input if t not in self.constants]
        return frozenset(found)

    def convolutions(self, tile: U8) -> tuple[Weighted, ...]:
        """Return every convolution in the order of the graph, with its cost on a tile uint8 1 x H x W x C."""
        nodes = [n for n in self.nodes if n.op_type in WEIGHTED]
        outputs = Activations(self.graph, [n.output[0] for n in nodes])(tile)
        stem = self._reads_image(nodes)
        return tuple(self._weighted(n, outputs[n.output[0]].shape, n.name in stem) for n in nodes)

    def residual_branch(self, add: onnx.NodeProto) -> str | None:
        """Return the input of a residual Add that is to be quantised, the identity; None where it is no residual Add.

        TensorRT fuses the Add into the convolution of the other branch. Where both branches end in a convolution the shorter
        one, the projection of the shortcut, takes the identity's place.
        """
        dynamic = [t for t in add.input if t not in self.constants]
        if add.op_type != "Add" or len(dynamic) != 2:
            return None
        convolved = [self._ends_in_convolution(t) for t in dynamic]
        if not any(convolved):
            return None
        if all(convolved):
            return str(min(dynamic, key=self._depth))
        return str(dynamic[convolved.index(False)])

    def source(self, tensor: str) -> str:
        """Return the tensor that this one has its values from, before pooling and what only moves values."""
        node = self.makers.get(tensor)
        if node is None or node.op_type not in MOVES:
            return tensor
        return self.source(node.input[0])

    def concats(self) -> Iterator[onnx.NodeProto]:
        """Yield the nodes that lay channels side by side."""
        for node in self.nodes:
            if node.op_type == "Concat" and node.attribute[0].i in (1, -3):
                yield node

    def _weighted(self, node: onnx.NodeProto, output: tuple[int, ...], stem: bool) -> Weighted:
        weight = self.shapes.get(node.input[1])
        if weight is None:
            raise CalibrationError(
                f"{node.op_type} {node.name} computes its weights instead of holding them, so they cannot be quantised; "
                "export the model in evaluation mode"
            )
        group = groups_of(node)
        transposed = node.op_type == "ConvTranspose"
        inside, outside = (weight[0], weight[1] * group) if transposed else (weight[1] * group, weight[0])
        kernel = int(np.prod(weight[2:]))
        # A transposed convolution multiplies once per input pixel, and those are fewer by its strides.
        strides = next((a.ints for a in node.attribute if a.name == "strides"), [1, 1])
        pixels = int(np.prod(output[2:])) // (int(np.prod(strides)) if transposed else 1)
        macs = int(output[0]) * pixels * inside * outside // group * kernel
        keep = ""
        if node.name in self.heads:
            keep = "it makes the logits"
        elif transposed and group > 1:
            keep = "transposed and grouped, which TensorRT may not build in INT8"
        elif output[2:] == (1, 1):
            keep = "it works on one pixel, as after global pooling"
        elif min(inside, outside) < THIN and not (stem and inside <= STEM and outside >= THIN):
            keep = f"{inside} channels in and {outside} out, below {THIN}"
        return Weighted(
            node.name, node.op_type, _block(node.input[1]), node.input[0], inside, outside, group, macs, keep
        )

    def _reads_image(self, nodes: list[onnx.NodeProto]) -> frozenset[str]:
        return frozenset(n.name for n in nodes if self._depth(n.input[0]) == 0)

    def _depth(self, tensor: str) -> int:
        """Return the number of convolutions on the longest path from the image to a tensor."""
        return self._depths.get(tensor, 0)

    @cached_property
    def _depths(self) -> dict[str, int]:
        depths: dict[str, int] = {}
        for node in self.nodes:
            deepest = max((depths.get(t, 0) for t in node.input), default=0)
            for output in node.output:
                depths[output] = deepest + (node.op_type in WEIGHTED)
        return depths

    def _ends_in_convolution(self, tensor: str) -> bool:
        node = self.makers.get(tensor)
        while node is not None and node.op_type == "BatchNormalization":
            node = self.makers.get(node.input[0])
        return node is not None and node.op_type in WEIGHTED and len(self.users[tensor]) == 1

    def _check(self) -> None:
        for node in self.nodes:
            if node.domain not in ("", "ai.onnx"):
                raise CalibrationError(
                    f"node {node.name or node.output[0]} is {node.domain}.{node.op_type}; only operators of ONNX itself can be "
                    "quantised for TensorRT, so export the model without custom operators"
                )
            if node.op_type in QUANTISED:
                raise CalibrationError(
                    f"the graph is quantised already ({node.op_type} {node.name or node.output[0]}); calibrate the FP32 graph"
                )
        if not any(node.op_type in WEIGHTED for node in self.nodes):
            raise CalibrationError("the graph has no convolution, so there is nothing to quantise")


def groups_of(node: onnx.NodeProto) -> int:
    """Return into how many groups a convolution divides its channels."""
    return next((int(a.i) for a in node.attribute if a.name == "group"), 1)


def _block(weight: str) -> str:
    """Name the block that a weight belongs to: ``model.encoder.0.3.weight`` is of ``encoder.0``."""
    parts = [p for p in weight.split(".") if p]
    if len(parts) < 2:
        return weight
    parts = parts[1 if parts[0] == "model" and len(parts) > 2 else 0 : -1]
    return ".".join(parts[:-1]) if len(parts) > 2 and parts[-1].isdigit() else ".".join(parts)
