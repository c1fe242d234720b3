"""The scanner must see what onnx sees, and answer anything that is no model with one kind of error."""

from __future__ import annotations

import contextlib
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from jetspect.errors import BundleError
from jetspect.runtime.onnx_scan import scan_onnx


def field(number: int, payload: bytes) -> bytes:
    """Encode one length-delimited protobuf field of less than 128 bytes."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def small_model() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["b"])],
        "g",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, ["N", 4, None, 3])],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT16, [1, 2])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_scanner_sees_what_onnx_sees(metal_demo: Path, precision: str) -> None:
    data = (metal_demo / f"model.{precision}.onnx").read_bytes()
    info, model = scan_onnx(data), onnx.load_from_string(data)
    for scanned, values in ((info.inputs, model.graph.input), (info.outputs, model.graph.output)):
        assert [v.name for v in scanned] == [v.name for v in values]
        assert [list(v.shape) for v in scanned] == [
            [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in values
        ]
        assert {v.dtype for v in scanned} == {"uint8"}
    assert info.opset == model.opset_import[0].version
    assert info.external == info.foreign == ()


def test_types_and_unnamed_axes_are_told() -> None:
    info = scan_onnx(small_model().SerializeToString())
    assert str(info.inputs[0]) == "a: uint8 N x 4 x ? x 3"
    assert (info.outputs[0].dtype, info.outputs[0].shape, info.opset) == ("float16", (1, 2), 18)


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_bundle_error(data: bytes) -> None:
    try:
        scan_onnx(data)
    except BundleError as error:
        assert "\n" not in str(error)


@given(st.data())
def test_a_model_with_a_few_changed_bytes_raises_nothing_else_either(data: st.DataObject) -> None:
    damaged = bytearray(small_model().SerializeToString())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BundleError):
        scan_onnx(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


def test_a_second_graph_that_a_parser_would_merge_is_refused() -> None:
    data = small_model().SerializeToString()
    with pytest.raises(BundleError, match="2 graphs instead of one"):
        scan_onnx(data + field(7, b""))
    with pytest.raises(BundleError, match="0 graphs instead of one"):
        scan_onnx(field(2, b"producer"))


def test_training_graphs_are_refused() -> None:
    with pytest.raises(BundleError, match="training graphs"):
        scan_onnx(small_model().SerializeToString() + field(20, b""))


@pytest.mark.parametrize("location", [1, 1 + 2**32])
def test_an_external_mark_is_seen_as_a_parser_sees_it(location: int) -> None:
    """A parser cuts the enum to 32 bits; a scanner that does not would miss the mark."""
    tensor = field(8, b"w") + varint(14 << 3) + varint(location)
    assert scan_onnx(field(7, field(5, tensor))).external == ("w",)


def test_graphs_nested_without_end_are_refused() -> None:
    deep = helper.make_graph([], "g", [], [])
    for _ in range(20):
        node = helper.make_node("Loop", [], ["y"], body=deep)
        deep = helper.make_graph([node], "g", [], [])
    with pytest.raises(BundleError, match="nested too deep"):
        scan_onnx(helper.make_model(deep).SerializeToString())
