"""Every rule fires on what it is about, and not on the form that it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from jetspect.calibration.lint import TARGETS, Finding, lint
from jetspect.calibration.network import WEIGHTED, Network
from jetspect.calibration.quantize import Plan, quantise, quantised_activations
from jetspect.errors import InputError
from jetspect.export.typed import to_half

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "bsd-pitting"
SINCE_10 = ("10.3", "10.13", "11")
TENTH, ZERO = np.float32(0.1), np.int8(0)


@dataclass
class Draft:
    """A graph in the making; ``x`` is its image or feature map, the last tensor made its answer."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)

    def node(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        made = [f"{name}_{k}" if k else f"{name}_out" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), made, name=name, domain=domain, **attributes))
        return made[0]

    def constant(self, value: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def pair(self, tensor: str, scale: Any = TENTH, zero: Any = ZERO, axis: int | None = None) -> str:
        """Q and DQ; ``zero`` None: without zero points."""
        rest = [self.constant(scale)]
        if zero is not None:
            rest.append(self.constant(np.full(np.shape(scale), zero, np.asarray(zero).dtype)))
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        return self.node(
            "DequantizeLinear", self.node("QuantizeLinear", tensor, *rest, **attributes), *rest, **attributes
        )

    def weights(
        self, out: int = 16, inside: int = 16, axis: int = 0, *, transposed: bool = False, scale: float = 0.1
    ) -> str:
        shape = (inside, out, 1, 1) if transposed else (out, inside, 1, 1)
        return self.pair(self.constant(np.ones(shape, np.float32)), np.full(shape[axis], scale, np.float32), axis=axis)

    def conv(self, tensor: str, weights: str | None = None, *rest: str, op: str = "Conv", **attributes: Any) -> str:
        return self.node(op, tensor, weights or self.weights(), *rest, **attributes)

    def bytes(self, opset: int = 17, channels: int = 16, kind: int = TensorProto.FLOAT) -> bytes:
        x = helper.make_tensor_value_info("x", kind, (1, channels, 8, 8))
        y = helper.make_tensor_value_info(self.nodes[-1].output[0], TensorProto.FLOAT, "nchw")
        constants = [numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "g", [x], [y], constants)
        domains = {n.domain for n in self.nodes if n.domain}
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
        data: bytes = helper.make_model(graph, opset_imports=opsets).SerializeToString()
        return data


def found(draft: Draft | bytes, rule: str, targets: Sequence[str] = TARGETS, **how: Any) -> list[Finding]:
    graph = draft if isinstance(draft, bytes) else draft.bytes(**how)
    return [f for f in lint(graph, targets=targets, precision="int8") if f.rule == rule]


def said(findings: list[Finding]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f.node, f.severity, f.targets) for f in findings]


def good() -> Draft:
    """Normalisation, conv, Relu, conv: both quantised, as the calibration does it."""
    draft = Draft()
    image = draft.node("Mul", "x", draft.constant(np.float32(2)))
    first = draft.node("Relu", draft.conv(draft.pair(image)))
    draft.conv(draft.pair(first))
    return draft


def test_a_well_quantised_graph_has_nothing_but_its_scales_against_it() -> None:
    assert {f.rule for f in lint(good().bytes(), precision="int8-trt8")} == {"float-around-int8"}
    assert lint(good().bytes(), targets=("8.6", "10.3"), precision="int8-trt8") == ()
    assert said(found(good(), "float-around-int8")) == [("(graph)", "warning", ("10.13", "11"))]


def residual(*, identity: bool, branch: bool) -> Draft:
    draft = Draft()
    relu = draft.node("Relu", draft.conv(draft.pair("x")))
    shortcut = draft.pair(relu)
    conv = draft.conv(shortcut)
    draft.node("Add", draft.pair(conv) if branch else conv, shortcut if identity else relu)
    return draft


def test_of_a_residual_add_the_identity_alone_is_quantised() -> None:
    both = residual(identity=True, branch=True)
    assert said(found(both, "residual-both-quantised")) == [(both.nodes[-1].name, "warning", TARGETS)]
    alone = residual(identity=True, branch=False)
    assert not found(alone, "residual-both-quantised") and not found(alone, "qdq-after-convolution")
    assert len(found(residual(identity=False, branch=True), "qdq-after-convolution")) == 1


def test_a_pair_behind_a_convolution_serves_another_convolution_only() -> None:
    draft = Draft()
    conv = draft.conv(draft.pair("x"))
    draft.conv(draft.pair(draft.node("Relu", draft.pair(conv))))
    (finding,) = found(draft, "qdq-after-convolution")
    assert (finding.severity, "Relu" in finding.why) == ("warning", True)
    plain = Draft()
    conv = plain.conv(plain.pair("x"))
    plain.conv(plain.node("MaxPool", plain.pair(conv), kernel_shape=[2, 2]))
    assert not found(plain, "qdq-after-convolution")
    last = Draft()
    last.pair(last.conv(last.pair("x")))
    assert "output of the graph" in found(last, "qdq-after-convolution")[0].why
    assert not found(good(), "qdq-after-convolution")


@pytest.mark.parametrize(
    ("zero", "rules"),
    [(np.int8(3), {"asymmetric"}), (np.uint8(0), {"unsigned"}), (np.uint8(128), {"asymmetric", "unsigned"})],
)
def test_activations_are_symmetric_and_signed(zero: Any, rules: set[str]) -> None:
    draft = Draft()
    draft.conv(draft.pair("x", zero=zero))
    findings = [f for f in lint(draft.bytes(), precision="int8") if f.rule in ("asymmetric", "unsigned")]
    assert {f.rule for f in findings} == rules
    assert all((f.severity, f.targets) == ("error", TARGETS) for f in findings)
    assert len(findings) == len(rules), "a pair is named once"


def test_biases_stay_float() -> None:
    draft = Draft()
    scale = draft.constant(np.float32(0.01))
    bias = draft.node("DequantizeLinear", draft.constant(np.zeros(16, np.int32)), scale)
    draft.conv(draft.pair("x"), None, bias)
    assert said(found(draft, "quantised-bias")) == [(draft.nodes[-1].name, "error", TARGETS)]
    plain = Draft()
    plain.conv(plain.pair("x"), None, plain.constant(np.zeros(16, np.float32)))
    assert not found(plain, "quantised-bias")


@pytest.mark.parametrize(("scales", "count"), [((0.1, 0.1), 0), ((0.1, 0.2), 1)])
def test_different_scales_around_a_concat_are_worth_a_note(scales: tuple[float, float], count: int) -> None:
    draft = Draft()
    first = draft.pair(draft.node("Relu", "x"), np.float32(scales[0]))
    second = draft.pair(draft.node("Sigmoid", "x"), np.float32(scales[1]))
    draft.conv(draft.node("Concat", first, second, axis=1), draft.weights(16, 32))
    findings = found(draft, "concat-scales")
    assert [f.severity for f in findings] == ["note"] * count
    assert all("0.1, 0.2" in f.why for f in findings)


def test_readers_of_a_concat_and_of_what_goes_into_it_count_too() -> None:
    draft = Draft()
    skip = draft.node("Relu", "x")
    draft.conv(draft.pair(skip, np.float32(0.3)))
    draft.conv(draft.pair(draft.node("Concat", skip, "x", axis=1), np.float32(0.4)), draft.weights(16, 32))
    assert len(found(draft, "concat-scales")) == 1


@pytest.mark.parametrize(
    ("inside", "out", "rule"),
    [(16, 8, "thin-convolution"), (8, 16, "thin-convolution"), (3, 8, "thin-convolution"), (20, 32, "odd-channels")],
)
def test_thin_and_odd_convolutions_are_named(inside: int, out: int, rule: str) -> None:
    draft = Draft()
    draft.conv(draft.pair("x"), draft.weights(out, inside))
    (finding,) = found(draft, rule, channels=inside)
    assert finding.severity == "warning" and f"{inside} channels in and {out} out" in finding.why


def test_the_stem_may_be_thin_and_so_may_what_stays_in_float() -> None:
    draft = Draft()
    stem = draft.conv(draft.pair(draft.node("Mul", "x", draft.constant(np.float32(2)))), draft.weights(16, 3))
    draft.node("Conv", stem, draft.constant(np.ones((1, 16, 1, 1), np.float32)))
    assert not found(draft, "thin-convolution", channels=3) and not found(draft, "odd-channels", channels=3)
    deeper = Draft()
    deeper.conv(deeper.pair(deeper.conv(deeper.pair("x"), deeper.weights(3, 16))), deeper.weights(16, 3))
    assert len(found(deeper, "thin-convolution")) == 2


def test_transposed_convolutions_with_groups_or_scales_per_channel() -> None:
    draft = Draft()
    draft.conv(draft.pair("x"), draft.weights(8, 16, 1, transposed=True), op="ConvTranspose", group=2)
    old, new = ("8.6", "10.3"), ("10.13", "11")
    name = draft.nodes[-1].name
    assert said(found(draft, "grouped-transposed")) == [(name, "warning", old), (name, "note", new)]
    assert said(found(draft, "transposed-per-channel")) == [(name, "warning", ("8.6",)), (name, "note", SINCE_10)]
    plain = Draft()
    weight = plain.pair(plain.constant(np.ones((16, 16, 1, 1), np.float32)))
    plain.conv(plain.pair("x"), weight, op="ConvTranspose")
    assert not found(plain, "grouped-transposed") and not found(plain, "transposed-per-channel")


@pytest.mark.parametrize(
    ("op", "axis", "severities"),
    [
        ("Conv", 0, []),
        ("Conv", -4, []),
        ("Conv", 1, ["error"]),
        ("ConvTranspose", 1, []),
        ("ConvTranspose", 0, ["warning"]),
    ],
)
def test_weights_have_their_scales_along_the_output_channels(op: str, axis: int, severities: list[str]) -> None:
    draft = Draft()
    draft.conv(draft.pair("x"), draft.weights(16, 16, axis, transposed=op == "ConvTranspose"), op=op)
    assert [f.severity for f in found(draft, "weight-axis")] == severities


def test_an_axis_that_is_left_out_is_1() -> None:
    draft = Draft()
    weights = draft.pair(draft.constant(np.ones((16, 16, 1, 1), np.float32)), np.full(16, 0.1, np.float32))
    draft.conv(draft.pair("x"), weights)
    assert len(found(draft, "weight-axis")) == 1


def test_an_activation_has_one_scale() -> None:
    draft = Draft()
    draft.conv(draft.pair("x", np.full(16, 0.1, np.float32), axis=1))
    assert [f.severity for f in found(draft, "per-axis-activation")] == ["warning"]
    assert not found(good(), "per-axis-activation")


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan, np.inf])
def test_scales_are_finite_and_above_0(scale: float) -> None:
    draft = Draft()
    draft.conv(draft.pair("x"), draft.weights(scale=scale))
    (finding,) = found(draft, "scale-not-positive")
    assert (finding.severity, finding.targets) == ("error", TARGETS) and f"{scale:g}" in finding.why
    assert not found(good(), "scale-not-positive")


def test_scales_and_zero_points_are_constants() -> None:
    draft = Draft()
    scale = draft.node("ReduceMax", "x", keepdims=0)
    zero = draft.node("Cast", scale, to=TensorProto.INT8)
    quantised = draft.node("QuantizeLinear", "x", scale, zero)
    draft.conv(draft.node("DequantizeLinear", quantised, scale, zero))
    assert len(found(draft, "scale-not-constant")) == len(found(draft, "asymmetric")) == 1


def test_a_zero_point_is_written_out() -> None:
    draft = Draft()
    draft.conv(draft.pair("x", zero=None))
    assert [(s, t) for _, s, t in said(found(draft, "missing-zero-point"))] == [
        ("error", ("8.6",)),
        ("warning", SINCE_10),
    ]
    assert not found(good(), "missing-zero-point")


def test_half_scales_are_not_for_8_6() -> None:
    half = to_half(good().bytes())
    findings = found(half, "half-scale")
    assert len(findings) == 4 and {(f.severity, f.targets) for f in findings} == {("error", ("8.6",))}
    assert "int8-trt8" in findings[0].fix
    assert not found(half, "float-around-int8") and not found(good(), "half-scale")


def test_int8_constants_are_not_for_8_6() -> None:
    draft = Draft()
    rest = draft.constant(np.full(16, 0.1, np.float32)), draft.constant(np.zeros(16, np.int8))
    weights = draft.constant(np.ones((16, 16, 1, 1), np.int8))
    draft.conv(draft.pair("x"), draft.node("DequantizeLinear", weights, *rest, axis=0))
    assert [(s, t) for _, s, t in said(found(draft, "int8-constant"))] == [("error", ("8.6",))]
    assert not found(good(), "int8-constant")


def test_a_cast_hides_a_pair_from_its_convolution() -> None:
    draft = Draft()
    draft.conv(draft.node("Cast", draft.pair("x"), to=TensorProto.FLOAT))
    assert said(found(draft, "cast-before-convolution")) == [(draft.nodes[-1].name, "warning", TARGETS)]
    assert not found(draft, "half-quantised") and not found(good(), "cast-before-convolution")


@pytest.mark.parametrize(("data", "weight"), [(True, False), (False, True)])
def test_input_and_weights_are_quantised_together(data: bool, weight: bool) -> None:
    draft = Draft()
    constant = draft.constant(np.ones((16, 16, 1, 1), np.float32))
    draft.conv(draft.pair("x") if data else draft.node("Relu", "x"), draft.weights() if weight else constant)
    (finding,) = found(draft, "half-quantised")
    assert finding.severity == "warning"
    moved = Draft()
    moved.conv(moved.node("MaxPool", moved.pair("x"), kernel_shape=[2, 2]))
    assert not found(moved, "half-quantised")


def test_float_types_do_not_mix_where_the_network_is_strongly_typed() -> None:
    draft = Draft()
    draft.node("Add", "x", draft.constant(np.float16(1)))
    assert said(found(draft, "mixed-float-types")) == [("add0", "error", ("10.13", "11"))]
    assert not found(to_half(good().bytes()), "mixed-float-types")


def test_a_newer_opset_matters_where_an_operator_changed() -> None:
    draft = Draft()
    draft.node("Relu", "x")
    assert said(found(draft, "opset-too-new", opset=18)) == [("(graph)", "note", ("8.6",))]
    assert [(s, t) for _, s, t in said(found(good(), "opset-too-new", opset=21))] == [
        ("error", ("8.6",)),
        ("warning", ("10.3",)),
    ]
    assert not found(good(), "opset-too-new", opset=17)
    beyond = onnx.defs.onnx_opset_version() + 1
    assert {f.severity for f in found(draft, "opset-too-new", opset=beyond)} == {"error", "warning"}


def test_operators_that_a_parser_lacks() -> None:
    draft = Draft()
    hard = draft.node("Hardmax", "x")
    draft.node("Det", draft.node("Gelu", hard))
    assert said(found(draft, "unsupported-operator", opset=20)) == [
        ("hardmax0", "error", ("8.6",)),
        ("det2", "error", TARGETS),
    ]
    assert said(found(draft, "unlisted-operator", opset=20)) == [("gelu1", "warning", ("8.6",))]
    assert not found(good(), "unsupported-operator")
    unknown = Draft()
    unknown.node("Nonsense", "x")
    assert len(found(unknown, "unsupported-operator")) == 1


def test_operators_of_other_domains_and_those_inside_a_branch() -> None:
    draft = Draft()
    draft.node("Plug", "x", domain="com.example")
    assert said(found(draft, "foreign-operator")) == [("plug0", "error", TARGETS)]
    inner = Draft()
    inner.node("Det", "x")
    answer = helper.make_tensor_value_info("det0_out", TensorProto.FLOAT, None)
    branch = helper.make_graph(inner.nodes, "b", [], [answer])
    outer = Draft()
    outer.node("If", outer.constant(np.bool_(True)), then_branch=branch, else_branch=branch)
    assert len(found(outer, "unsupported-operator")) == 2


def test_options_that_a_parser_lacks() -> None:
    draft = Draft()
    scales = draft.constant(np.array([1, 1, 2, 2], np.float32))
    draft.node("Resize", draft.node("Resize", "x", "", scales, mode="cubic"), "", scales, mode="linear", antialias=1)
    draft.node("MaxPool", "x", outputs=2, kernel_shape=[2, 2])
    assert said(found(draft, "cubic-resize", opset=18)) == [("resize0", "warning", TARGETS)]
    assert said(found(draft, "antialias-resize", opset=18)) == [("resize1", "error", TARGETS)]
    assert said(found(draft, "max-pool-indices", opset=18)) == [("maxpool2", "error", TARGETS)]
    plain = Draft()
    scales = plain.constant(np.array([1, 1, 2, 2], np.float32))
    plain.node("MaxPool", plain.node("Resize", "x", "", scales, mode="linear"), kernel_shape=[2, 2])
    assert not {f.rule for f in lint(plain.bytes(), precision="fp32")}


def test_a_uint8_image_is_cast_before_anything_else() -> None:
    """As NVIDIA/TensorRT#3985 has it, for graphs without Q/DQ too."""
    late, early = Draft(), Draft()
    late.node("Cast", late.node("Transpose", "x"), to=TensorProto.FLOAT)
    early.node("Transpose", early.node("Cast", "x", to=TensorProto.FLOAT))
    assert said(found(late, "uint8-before-cast", kind=TensorProto.UINT8)) == [("transpose0", "error", TARGETS)]
    assert not found(early, "uint8-before-cast", kind=TensorProto.UINT8)


def test_a_graph_called_int8_without_a_pair_is_named() -> None:
    draft = Draft()
    draft.node("Relu", "x")
    assert len(found(draft, "not-quantised")) == 1
    assert lint(draft.bytes(), precision="fp16") == ()


def test_the_cpu_graph_gets_one_note() -> None:
    draft = Draft()
    draft.conv(draft.pair("x", zero=np.uint8(128)))
    (finding,) = lint(draft.bytes(), targets=["11"], precision="int8-cpu")
    assert (finding.rule, finding.severity, finding.targets) == ("not-for-tensorrt", "note", ("11",))


def test_only_the_versions_asked_for_are_named_and_the_worst_comes_first() -> None:
    findings = lint(to_half(good().bytes()), targets=["11", "8.6"], precision="int8")
    order = ["error", "warning", "note"]
    ranks = [order.index(f.severity) for f in findings]
    assert ranks == sorted(ranks)
    assert {t for f in findings for t in f.targets} <= {"8.6", "11"}


@pytest.mark.parametrize(
    ("graph", "targets", "says"),
    [
        (b"no graph", TARGETS, "this is no ONNX graph"),
        (b"", TARGETS, "or one without nodes"),
        (good().bytes(), ("10",), "TensorRT '10' is not known here; use one of 8.6"),
        (good().bytes(), (), "name at least one version"),
    ],
)
def test_what_cannot_be_linted_is_refused(graph: bytes, targets: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        lint(graph, targets=targets, precision="int8")


def test_data_in_another_file_is_refused() -> None:
    model = onnx.load_from_string(good().bytes())
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(InputError, match="in another file; save it as one file"):
        lint(model.SerializeToString(), precision="int8")


def test_what_the_calibration_writes_has_no_error() -> None:
    network = Network((BUNDLE / "model.fp32.onnx").read_bytes())
    names = [n.name for n in network.nodes if n.op_type in WEIGHTED and n.name not in network.heads]
    ranges = dict.fromkeys(quantised_activations(network, names), (-1.0, 3.0))
    graph = quantise(network, Plan(frozenset(names), ranges))
    for made, targets, precision in ((to_half(graph), SINCE_10, "int8"), (graph, ("8.6",), "int8-trt8")):
        findings = lint(made, targets=targets, precision=precision)
        assert not [f for f in findings if f.severity == "error"]
        # Warnings that are no fault of the calibration's.
        assert {f.rule for f in findings if f.severity == "warning"} <= {"transposed-per-channel"}
