"""What TensorRT and x86 processors ask of a quantised graph holds in every graph that is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from jetspect.calibration.activations import Activations, open_session
from jetspect.calibration.graphs import TRT8_OPSET, lower_opset
from jetspect.calibration.network import WEIGHTED, Network
from jetspect.calibration.quantize import (
    Plan,
    Ranges,
    float_activations,
    quantise,
    quantise_for_cpu,
    quantised_activations,
    residuals,
)
from jetspect.errors import CalibrationError
from jetspect.export.typed import float_types, to_half

U8 = npt.NDArray[np.uint8]
Array = npt.NDArray[Any]
Make = Callable[[Network, Plan], bytes]
KINDS = ("unet", "residual", "grouped")
FORMS: Mapping[str, Make] = {
    "fp32": quantise,
    "half": lambda network, plan: to_half(quantise(network, plan)),
    "trt8": lambda network, plan: lower_opset(quantise(network, plan, transposed_per_tensor=True), TRT8_OPSET),
}


def ranges_of(network: Network, tensors: tuple[str, ...], tiles: U8) -> Ranges:
    """Lowest and highest values on the tiles."""
    return {t: (float(v.min()), float(v.max())) for t, v in Activations(network.graph, tensors)(tiles).items()}


def whole_plan(network: Network, tiles: U8) -> Plan:
    nodes = [c.name for c in network.convolutions(tiles[:1]) if not c.keep]
    return Plan(frozenset(nodes), ranges_of(network, quantised_activations(network, nodes), tiles))


class Graph:
    """A quantised graph, to be looked at."""

    def __init__(self, data: bytes) -> None:
        self.model = onnx.load_from_string(data)
        self.nodes = {n.name: n for n in self.model.graph.node}
        self.makers = {o: n for n in self.model.graph.node for o in n.output}
        self.constants = {i.name: numpy_helper.to_array(i) for i in self.model.graph.initializer}

    def of(self, kind: str) -> list[onnx.NodeProto]:
        return [n for n in self.model.graph.node if n.op_type == kind]

    def users(self, tensor: str) -> list[onnx.NodeProto]:
        return [n for n in self.model.graph.node if tensor in n.input]

    def pair(self, tensor: str) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
        """Q and DQ that a tensor comes from; None for one that comes as it is."""
        dequantise = self.makers.get(tensor)
        if dequantise is None or dequantise.op_type != "DequantizeLinear":
            return None
        quantise = self.makers[dequantise.input[0]]
        assert quantise.op_type == "QuantizeLinear"
        return quantise, dequantise

    def cast_from(self, tensor: str) -> str:
        """The tensor before a Cast between the float types."""
        node = self.makers.get(tensor)
        return node.input[0] if node is not None and node.op_type == "Cast" and node.input[0] != "tiles_u8" else tensor

    def scale(self, tensor: str) -> float:
        (found,) = [q for q in self.of("QuantizeLinear") if self.cast_from(q.input[0]) == tensor]
        return float(self.constants[found.input[1]])


@pytest.fixture(scope="session")
def plans(networks: dict[str, Network], tiles: U8) -> dict[str, Plan]:
    return {kind: whole_plan(network, tiles) for kind, network in networks.items()}


@pytest.fixture(scope="session")
def made(networks: dict[str, Network], plans: dict[str, Plan]) -> dict[tuple[str, str], Graph]:
    return {(k, form): Graph(make(networks[k], plans[k])) for k in KINDS for form, make in FORMS.items()}


@pytest.fixture(params=[(kind, form) for kind in KINDS for form in FORMS], ids="-".join)
def case(
    request: pytest.FixtureRequest,
    networks: dict[str, Network],
    plans: dict[str, Plan],
    made: dict[tuple[str, str], Graph],
) -> tuple[Network, Plan, Graph, str]:
    kind, form = request.param
    return networks[kind], plans[kind], made[kind, form], form


Case = tuple[Network, Plan, Graph, str]


def test_both_inputs_of_every_convolution_in_int8_come_from_dequantised_values(case: Case) -> None:
    network, plan, graph, _ = case
    assert len(plan.nodes) >= 3
    for name in plan.nodes:
        data, weight = (graph.pair(t) for t in graph.nodes[name].input[:2])
        assert data is not None and weight is not None, name
        original = next(n for n in network.nodes if n.name == name)
        assert graph.cast_from(data[0].input[0]) == original.input[0]
        assert weight[0].input[0].removesuffix("_fp16") == original.input[1]


def test_scales_are_above_zero_and_zero_points_are_zero(case: Case) -> None:
    _, _, graph, form = case
    pairs = [*graph.of("QuantizeLinear"), *graph.of("DequantizeLinear")]
    assert pairs
    for node in pairs:
        scale, zero = graph.constants[node.input[1]], graph.constants[node.input[2]]
        assert (scale > 0).all() and np.isfinite(scale).all(), node.name
        assert zero.dtype == np.int8 and not zero.any(), node.name
        assert scale.dtype == (np.float16 if form == "half" else np.float32)


def test_activations_have_one_scale_and_weights_one_per_channel(case: Case) -> None:
    _, plan, graph, form = case
    for name in plan.nodes:
        node = graph.nodes[name]
        data, weight = (graph.pair(t) for t in node.input[:2])
        assert data is not None and weight is not None
        assert [graph.constants[n.input[1]].shape for n in data] == [(), ()]
        kernel = graph.constants[weight[0].input[0]]
        axis = 1 if node.op_type == "ConvTranspose" else 0
        for part in weight:
            scale = graph.constants[part.input[1]]
            if form == "trt8" and node.op_type == "ConvTranspose":
                assert scale.shape == ()
                continue
            assert scale.shape == (kernel.shape[axis],)
            assert [a.i for a in part.attribute if a.name == "axis"] == [axis]
            largest = np.abs(kernel.astype(np.float64)).max(axis=tuple(a for a in range(4) if a != axis))
            assert scale.astype(np.float64) == pytest.approx(largest / 127, rel=2e-3)


def test_biases_and_heads_stay_float(case: Case) -> None:
    network, plan, graph, form = case
    wanted = np.float16 if form == "half" else np.float32
    weighted = [n for n in graph.model.graph.node if n.op_type in WEIGHTED]
    assert len(weighted) == sum(n.op_type in WEIGHTED for n in network.nodes)
    assert all(graph.constants[n.input[2]].dtype == wanted for n in weighted)
    for name in network.heads:
        assert name not in plan.nodes
        assert [graph.pair(t) for t in graph.nodes[name].input] == [None] * 3


def test_of_a_residual_add_exactly_the_identity_is_quantised(case: Case) -> None:
    network, plan, graph, _ = case
    found = dict(residuals(network, plan.nodes))
    adds = [n for n in graph.of("Add") if any(graph.pair(t) is not None for t in n.input)]
    assert {n.name for n in adds} == set(found)
    assert len(found) == (2 if any(t.startswith("model.shortcut") for t in network.constants) else 0)
    for add in adds:
        quantised = [p for p in map(graph.pair, add.input) if p is not None]
        assert [p[0].input[0] for p in quantised] == [found[add.name]]


def test_nothing_is_quantised_that_no_convolution_or_addition_reads(case: Case) -> None:
    network, plan, graph, _ = case
    readers = plan.nodes | {name for name, _ in residuals(network, plan.nodes)}
    for node in graph.of("DequantizeLinear"):
        users = graph.users(node.output[0])
        assert users and {u.name for u in users} <= readers, node.name
    for node in graph.of("QuantizeLinear"):
        assert [u.op_type for u in graph.users(node.output[0])] == ["DequantizeLinear"], node.name
    activations = {graph.cast_from(n.input[0]) for n in graph.of("QuantizeLinear")} - set(network.constants)
    weights = {n.input[0] for n in graph.of("QuantizeLinear") if n.input[0] in graph.constants}
    assert activations - weights == set(quantised_activations(network, plan.nodes))


def test_types_are_written_into_the_graph(case: Case) -> None:
    _, plan, graph, form = case
    types = float_types(graph.model.SerializeToString())
    inside = TensorProto.FLOAT16 if form == "half" else TensorProto.FLOAT
    assert {types[graph.nodes[name].output[0]] for name in plan.nodes} == {inside}
    (version,) = [o.version for o in graph.model.opset_import]
    assert version == {"fp32": 18, "half": 19, "trt8": 17}[form]


@pytest.mark.parametrize("kind", KINDS)
def test_answers_stay_close_to_those_in_floating_point(
    kind: str, networks: dict[str, Network], plans: dict[str, Plan], made: dict[tuple[str, str], Graph], tiles: U8
) -> None:
    exact = open_session(networks[kind].graph).run(None, {"tiles_u8": tiles[:4]})[0]
    assert exact.std() > 0.02
    for form in FORMS:
        session = open_session(made[kind, form].model.SerializeToString())
        error = np.abs(session.run(None, {"tiles_u8": tiles[:4]})[0] - exact)
        assert 0 < error.mean() < 0.02, form


def test_one_convolution_computes_what_is_computed_by_hand(sketch: type[Any]) -> None:
    """Rounded to the nearest step and clipped at the range; one step per activation and per channel of the weights."""
    drawing = sketch()
    head = drawing.conv(drawing.conv(drawing.image, "body", (3, 16), 1), "head", (16, 1), 1)
    network = Network(drawing.graph(head, activate=False))
    plan = Plan(frozenset(["node_body"]), {drawing.image: (-0.5, 3.0)})
    tile = np.random.default_rng(0).integers(0, 256, (1, 5, 6, 3), np.uint8)
    constants = {c.name: numpy_helper.to_array(c).astype(np.float64) for c in drawing.constants}

    def rounded(values: Array, scale: Array | float) -> Array:
        return np.asarray(np.clip(np.rint(values / scale), -127, 127) * scale)

    kernel, last = constants["body.weight"][:, :, 0, 0], constants["head.weight"][0, :, 0, 0]
    steps = np.abs(kernel).max(axis=1, keepdims=True) / 127
    data = rounded(tile[0] / 60, 3.0 / 127)
    assert data.max() == pytest.approx(3.0)  # values up to 4.25 are clipped
    body = data @ rounded(kernel, steps).T + constants["body.bias"]
    expected = body @ last + constants["head.bias"]
    got = open_session(quantise(network, plan)).run(None, {"tiles_u8": tile})[0]
    # Where a value stands half way between two steps, single precision may go the other way.
    assert np.quantile(np.abs(got[0, 0] - expected), 0.9) < 1e-4


def test_activations_that_share_a_scale_get_the_larger_one(
    networks: dict[str, Network], plans: dict[str, Plan]
) -> None:
    network, plan = networks["unet"], plans["unet"]
    wide = max(plan.ranges, key=lambda t: max(map(abs, plan.ranges[t])))
    others = [t for t in plan.ranges if t != wide][:2]
    alone = Graph(quantise(network, plan))
    assert alone.scale(others[0]) < alone.scale(wide)
    shared = Plan(plan.nodes, plan.ranges, (frozenset([wide, others[0]]), frozenset([others[1], "elsewhere"])))
    together = Graph(quantise(network, shared))
    assert together.scale(wide) == together.scale(others[0]) == alone.scale(wide)
    assert together.scale(others[1]) == alone.scale(others[1])
    assert Graph(quantise(network, shared.without([]))).scale(others[0]) == alone.scale(wide)
    half = Graph(to_half(quantise(network, shared)))
    assert half.scale(wide) == half.scale(others[0])


@pytest.mark.parametrize("kind", KINDS)
def test_without_and_only_leave_the_others_float(
    kind: str, networks: dict[str, Network], plans: dict[str, Plan]
) -> None:
    network, plan = networks[kind], plans[kind]
    for name in sorted(plan.nodes)[:3]:
        for part, inside in ((plan.without([name]), plan.nodes - {name}), (plan.only([name]), {name})):
            assert part.nodes == inside and part.ranges == plan.ranges
            graph = Graph(quantise(network, part))
            got = {n for n in graph.nodes if graph.nodes[n].op_type in WEIGHTED and graph.pair(graph.nodes[n].input[1])}
            assert got == inside
    assert plan.only(["unknown"]).nodes == frozenset()


def test_an_identity_is_quantised_only_where_int8_takes_the_addition_in(
    networks: dict[str, Network], plans: dict[str, Plan]
) -> None:
    network, plan = networks["residual"], plans["residual"]
    for add, identity in residuals(network, plan.nodes):
        node = next(n for n in network.nodes if n.name == add)
        branch = next(t for t in node.input if t != identity)
        graph = Graph(quantise(network, plan.without([network.makers[branch].name])))
        assert add not in dict(residuals(network, plan.nodes - {network.makers[branch].name}))
        assert graph.pair(next(t for t in graph.nodes[add].input if t == branch)) is None


def test_missing_ranges_and_unknown_nodes_are_named(networks: dict[str, Network], plans: dict[str, Plan]) -> None:
    network, plan = networks["residual"], plans["residual"]
    for missing in plan.ranges:
        ranges = {t: r for t, r in plan.ranges.items() if t != missing}
        with pytest.raises(
            CalibrationError, match=f"no range was measured for activation '{missing}'; calibrate with all"
        ):
            quantise(network, Plan(plan.nodes, ranges))
    with pytest.raises(
        CalibrationError, match=r"no convolution is called 'gone'; take names from Network\.convolutions"
    ):
        quantise(network, Plan(plan.nodes | {"gone"}, plan.ranges))
    with pytest.raises(CalibrationError, match="no convolution is called 'gone'"):
        quantise_for_cpu(network, Plan(frozenset(["gone"]), plan.ranges))


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_for_processors_has_unsigned_activations_and_runs(
    kind: str, networks: dict[str, Network], plans: dict[str, Plan], tiles: U8
) -> None:
    network, plan = networks[kind], plans[kind]
    ranges = ranges_of(network, float_activations(network), tiles)
    data = quantise_for_cpu(network, Plan(plan.nodes, ranges))
    graph = Graph(data)
    zeros = {n.name: graph.constants[n.input[2]] for n in graph.of("QuantizeLinear")}
    assert zeros and {z.dtype for z in zeros.values()} == {np.dtype(np.uint8)}
    for name in plan.nodes:
        weight, bias = (graph.makers[t] for t in graph.nodes[name].input[1:3])
        assert graph.constants[weight.input[0]].dtype == np.int8
        # Seven bits: pairs of products saturate 16 bits on processors without VNNI.
        assert np.abs(graph.constants[weight.input[0]].astype(int)).max() <= 64
        assert graph.constants[bias.input[0]].dtype == np.int32
    assert all(graph.pair(t) is None for name in network.heads for t in graph.nodes[name].input[1:])
    exact = open_session(network.graph).run(None, {"tiles_u8": tiles[:4]})[0]
    got = open_session(data).run(None, {"tiles_u8": tiles[:4]})[0]
    assert 0 < np.abs(got - exact).mean() < 0.02
