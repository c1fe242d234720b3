"""FP16 written into a graph: which parts change their type, which keep it, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from jetspect.errors import ExportError
from jetspect.export.graph import TileGraph, float_twin, fold_batch_norm, to_onnx
from jetspect.export.parity import float_scorer
from jetspect.export.typed import float_types, to_half
from jetspect.models.unet import UNet

Trained = Callable[[nn.Module], nn.Module]


@pytest.fixture(scope="module")
def exported(trained: Trained) -> bytes:
    model = fold_batch_norm(copy.deepcopy(trained(UNet(3, 2, width=4, depth=2))))
    return to_onnx(TileGraph(model, (120.0,) * 3, (50.0,) * 3), channels=3, stride_px=4)


def test_every_node_of_the_half_graph_takes_one_float_type(exported: bytes) -> None:
    types = float_types(to_half(exported))
    model = onnx.load_from_string(to_half(exported))
    weighted = [n for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    assert weighted and all(types[t] == TensorProto.FLOAT16 for n in weighted for t in (*n.input, *n.output))
    sigmoid = next(n for n in model.graph.node if n.op_type == "Sigmoid")
    assert types[sigmoid.input[0]] == types[sigmoid.output[0]] == TensorProto.FLOAT


def test_two_casts_are_enough_and_the_answers_stay_close(exported: bytes) -> None:
    half = to_half(exported)
    inner = [n for n in onnx.load_from_string(half).graph.node if n.op_type == "Cast" and n.name.startswith("cast_")]
    assert len(inner) == 2
    tiles = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    assert np.abs(float_scorer(float_twin(half))(tiles) - float_scorer(float_twin(exported))(tiles)).max() < 0.02


def test_a_graph_that_mixes_types_is_named(exported: bytes) -> None:
    model = onnx.load_from_string(to_half(exported))
    cast = next(n for n in model.graph.node if n.op_type == "Cast" and n.name.startswith("cast_"))
    for node in model.graph.node:
        for position, tensor in enumerate(node.input):
            if tensor == cast.output[0]:
                node.input[position] = cast.input[0]
    with pytest.raises((ExportError, onnx.shape_inference.InferenceError), match=r"mixes FLOAT, FLOAT16|float16"):
        float_types(model.SerializeToString())


def constants(values: list[float], op: str = "Mul") -> bytes:
    """A tiny graph: image, one operation between two convolutions, sigmoid."""
    kernel = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "kernel")
    constant = numpy_helper.from_array(np.array(values, np.float32), "constant")
    nodes = [
        helper.make_node("Transpose", ["tiles_u8"], ["a"], name="a", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["a"], ["b"], name="b", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["b", "kernel"], ["c"], name="c"),
        helper.make_node(op, ["c", "constant"], ["d"], name="d"),
        helper.make_node("Conv", ["d", "kernel"], ["e"], name="e"),
        helper.make_node("Sigmoid", ["e"], ["p"], name="p"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("tiles_u8", TensorProto.UINT8, ["N", "H", "W", 1])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["N", 1, "H", "W"])],
        [kernel, constant],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    data: bytes = model.SerializeToString()
    return data


def test_a_constant_beyond_fp16_is_refused_by_name() -> None:
    with pytest.raises(ExportError, match="'constant' reaches 7e\\+04, beyond what FP16 holds"):
        to_half(constants([7e4]))


def test_the_lowest_float_becomes_the_lowest_half() -> None:
    model = onnx.load_from_string(to_half(constants([float(np.finfo(np.float32).min)], "Add")))
    kept = next(i for i in model.graph.initializer if i.name == "constant_fp16")
    assert numpy_helper.to_array(kept) == np.finfo(np.float16).min
