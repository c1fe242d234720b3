from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from engine_graphs import graph
from onnx import TensorProto, helper

from jetspect.errors import EngineError, InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine


def test_tiles_go_in_and_scores_come_out_in_reused_memory() -> None:
    with OnnxRuntimeEngine(graph()) as engine:
        tiles = np.random.default_rng(0).integers(0, 255, (2, 8, 9, 3), dtype=np.uint8)
        first = engine.run(tiles)
        assert (first == tiles.transpose(0, 3, 1, 2)).all()
        second = engine.run(np.zeros_like(tiles))
        assert np.shares_memory(first, second)
        assert engine.dynamic
        assert "cpu" in str(engine.info)


def test_a_graph_of_fixed_size_is_not_dynamic() -> None:
    with OnnxRuntimeEngine(graph(shape=(1, 16, 16, 3))) as engine:
        assert not engine.dynamic


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (b"", "cannot load"),
        (b"not onnx at all", "cannot load"),
        (graph(TensorProto.FLOAT), "takes tensor\\(float\\)"),
        (graph(shape=("N", "H", "W", 4)), "uint8 N x H x W x 1 or 3"),
    ],
)
def test_a_graph_that_is_none_of_ours_is_refused(model: bytes, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        OnnxRuntimeEngine(model)
    assert "\n" not in str(caught.value)


def test_a_corrupt_file_is_named(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(bundle.graph("fp32")[:5000])
    with pytest.raises(EngineError, match=r"cannot load cut\.onnx"):
        OnnxRuntimeEngine(path)


@pytest.mark.parametrize(
    "tiles",
    [np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8)],
)
def test_tiles_of_another_kind_are_refused(tiles: np.ndarray) -> None:
    with OnnxRuntimeEngine(graph()) as engine, pytest.raises(EngineError, match="contiguous uint8 tiles N x H x W x 3"):
        engine.run(tiles)


def test_a_negative_thread_count_is_refused() -> None:
    with pytest.raises(InputError, match="got -1"):
        OnnxRuntimeEngine(graph(), threads=-1)


def with_second(dtype: int, shape: list[object], *, times: int = 1) -> bytes:
    """The same graph with more outputs: the shape of the input, cast."""
    model = onnx.load_from_string(graph())
    for number in range(times):
        out = f"more{number}"
        model.graph.node.append(helper.make_node("Cast", ["tiles_u8"], [out], to=dtype))
        model.graph.output.append(helper.make_tensor_value_info(out, dtype, shape))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            with_second(TensorProto.UINT8, ["N", "H", "W", 3]),
            r"also returns tensor\(uint8\) .* a decision is uint8 N x 1",
        ),
        (with_second(TensorProto.FLOAT, ["N", "H", "W", 3]), r"also returns tensor\(float\)"),
        (with_second(TensorProto.UINT8, ["N", "H", "W", 3], times=2), "1 inputs and 3 outputs; .* or a decision"),
    ],
)
def test_a_second_output_that_is_no_decision_is_refused(model: bytes, says: str) -> None:
    with pytest.raises(EngineError, match=says):
        OnnxRuntimeEngine(model)


def test_a_graph_without_a_decision_has_none() -> None:
    with OnnxRuntimeEngine(graph()) as engine:
        engine.run(np.zeros((1, 8, 8, 3), np.uint8))
        assert engine.decisions is None
