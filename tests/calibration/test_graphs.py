"""A bundle gets a graph for every kind of engine, each with the opset that its engine takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from jetspect.calibration.activations import Activations, open_session
from jetspect.calibration.graphs import lower_opset, make_graphs
from jetspect.calibration.network import Network
from jetspect.calibration.quantize import Plan, Ranges, float_activations, quantise
from jetspect.export.graph import float_twin
from jetspect.export.typed import to_half
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine

U8 = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def every_range(unet: Network, tiles: U8) -> Ranges:
    values = Activations(unet.graph, float_activations(unet))(tiles)
    return {t: (float(v.min()), float(v.max())) for t, v in values.items()}


@pytest.fixture(scope="module")
def plan(unet: Network, every_range: Ranges, tiles: U8) -> Plan:
    return Plan(frozenset(c.name for c in unet.convolutions(tiles[:1]) if not c.keep), every_range)


def test_a_bundle_gets_one_graph_per_kind_of_engine(
    unet_graph: bytes, plan: Plan, every_range: Ranges, tiles: U8
) -> None:
    graphs = make_graphs(unet_graph, plan, every_range, tiles[:1])
    assert set(graphs.data) - {"int8-cpu"} == {"int8", "int8-trt8"}
    assert ("int8-cpu" in graphs.data) == (graphs.cpu_speedup >= 1.0) == (not graphs.notes)
    opsets = {p: [o.version for o in onnx.load_from_string(d).opset_import] for p, d in graphs.data.items()}
    assert (opsets["int8"], opsets["int8-trt8"]) == ([19], [17])
    with OnnxRuntimeEngine(unet_graph) as exact, OnnxRuntimeEngine(graphs.data["int8"], precision="int8") as int8:
        wanted = exact.run(tiles[:2]).astype(int)
        error = np.abs(int8.run(tiles[:2]) - wanted)
    assert 0 < error.mean() < 5
    twin = open_session(float_twin(graphs.data["int8"])).run(None, {"tiles_u8": tiles[:2]})[0]
    assert np.abs(255 * twin - wanted).mean() < 5


def test_an_opset_is_lowered_only_where_every_operator_stays_the_same(unet: Network, plan: Plan) -> None:
    half = to_half(quantise(unet, plan))
    assert onnx.load_from_string(lower_opset(half, 17)).opset_import[0].version == 19
    plain = unet.graph
    assert onnx.load_from_string(lower_opset(plain, 17)).opset_import[0].version == 17
    assert onnx.load_from_string(lower_opset(plain, 21)).opset_import[0].version == 18


def test_another_graph_for_tensorrt_8_leaves_the_others_alone(
    unet_graph: bytes, plan: Plan, every_range: Ranges, tiles: U8
) -> None:
    graphs = make_graphs(unet_graph, plan, every_range, tiles[:1])
    (left_out, *_) = sorted(plan.nodes)
    other = graphs.with_trt8(unet_graph, plan.without([left_out]))
    assert other.nodes("int8-trt8") == plan.nodes - {left_out} and other.nodes("int8") == plan.nodes
    assert other.data["int8-trt8"] != graphs.data["int8-trt8"]
    assert {p: d for p, d in other.data.items() if p != "int8-trt8"} == {
        p: d for p, d in graphs.data.items() if p != "int8-trt8"
    }
