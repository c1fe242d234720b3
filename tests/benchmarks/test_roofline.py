"""Work counted in a graph, and a run that sets stages beside limits and predicts other tiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import jetspect
from onnx import TensorProto, helper, numpy_helper

from jetspect.benchmarks.roofline.machine import gemm_graph
from jetspect.benchmarks.roofline.work import work_of
from jetspect.errors import InputError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine

BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / "metal-demo"


def graph_of(nodes: list[Any], weights: dict[str, tuple[int, ...]], out: str) -> bytes:
    """A graph from a float input ``x``, N x C x H x W."""
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2, "h", "w"])]
    answer = [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)]
    held = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()]
    graph = helper.make_graph(nodes, "counted", given, answer, held)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    )


def test_multiplications_are_those_of_the_textbook() -> None:
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    up = helper.make_node("ConvTranspose", ["y", "t"], ["z"], strides=[2, 2])
    counted = work_of(graph_of([conv, up], {"w": (6, 2, 3, 3), "t": (6, 4, 2, 2)}, "z"), (1, 2, 10, 8))
    # 10 x 8 px with 6 outputs of 3 x 3 x 2; then each of 6 x 10 x 8 inputs into 2 x 2 x 4 outputs.
    assert counted.held_bytes == 4 * (6 * 10 * 8 + 6 * 4 * 2 * 2 + 4 * 20 * 16)
    assert counted.macs == 10 * 8 * 6 * 18 + 6 * 10 * 8 * 16
    grouped = helper.make_node("Conv", ["x", "w"], ["y"], group=2, strides=[2, 2], pads=[1, 1, 1, 1])
    assert work_of(graph_of([grouped], {"w": (2, 1, 3, 3)}, "y"), (1, 2, 10, 8)).macs == 2 * 5 * 4 * 9
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert work_of(graph_of([product], {"w": (8, 5)}, "y"), (3, 2, 10, 8)).macs == 3 * 2 * 10 * 5 * 8
    nothing = helper.make_node("Relu", ["x"], ["y"])
    assert work_of(graph_of([nothing], {}, "y"), (1, 2, 10, 8)).macs == 0


def test_work_grows_with_area_and_batch() -> None:
    graph = Bundle.open(BUNDLE).graph("fp32")
    small, large, two = (work_of(graph, shape) for shape in ((1, 64, 96, 3), (1, 128, 192, 3), (2, 64, 96, 3)))
    assert large.macs == 4 * small.macs
    assert two.macs == 2 * small.macs
    assert two.border_bytes - small.border_bytes == 64 * 96 * (3 + 3)  # one more tile and its scores


def test_a_shape_that_the_input_does_not_tell_is_refused() -> None:
    chosen = helper.make_node("NonZero", ["x"], ["found"])
    cast = helper.make_node("Cast", ["found"], ["f"], to=TensorProto.FLOAT)
    product = helper.make_node("MatMul", ["f", "w"], ["y"])
    with pytest.raises(InputError, match="does not follow from the size of the input"):
        work_of(graph_of([chosen, cast, product], {"w": (7, 5)}, "y"), (1, 2, 10, 8))


def test_the_graph_of_large_products_runs_and_its_work_is_known() -> None:
    counted = work_of(gemm_graph(), (1, 64, 64, 3))
    assert counted.macs == 64 * 64 * 512 * (3 + 2 * 512 + 1)
    with OnnxRuntimeEngine(gemm_graph(), threads=1) as engine:
        assert engine.run(np.zeros((1, 8, 8, 3), np.uint8)).shape == (1, 1, 8, 8)


def test_the_run_sets_stages_beside_limits_and_says_how_far_off_a_prediction_is(tmp_path: Path) -> None:
    size = ("--size", "240x208", "--tile", "208", "--plan", "208x1,224x2", "--frames", 1, "--threads", 1)
    done = jetspect("bench", "model", BUNDLE, *size, "--json", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    data = record["result"]
    stages = {s["name"]: s for s in data["stages"]}
    assert list(stages) == ["checks", "gather", "engine", "scatter", "postprocess"]
    assert stages["postprocess"]["limit_ms"] is None
    assert stages["gather"]["moved_bytes"] == 2 * data["tiles"] * 208 * 208 * 3
    assert stages["engine"]["macs"] == data["tiles"] * data["tile"]["macs"]
    assert stages["engine"]["limit_ms"] >= 1e3 * stages["engine"]["macs"] / data["peak_macs_per_s"] * 0.999
    (plan,) = data["predictions"]  # the measured point itself is none
    assert (plan["tile_px"], plan["batch"]) == (224, 2)
    assert plan["predicted_per_s"] == pytest.approx(data["measured_per_s"] * (208 / 224) ** 2)
    assert data["off"] == [pytest.approx(plan["predicted_per_s"] / plan["measured_per_s"] - 1)]
    assert "off by" in record["rows"][1]["measured"]
    assert "off by" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--plan", "512"), "--plan is a list of TILExBATCH"),
        (("--plan", "512x65"), "a batch is 1 to 64 tiles, got 65"),
        (("--plan", "100x1"), "must be multiples of the model's stride 16"),
        (("--plan", "16384x64"), "GB in one step of the network"),
        (("--plan", "99999x1"), "tiles up to 16384 px"),
    ],
)
def test_what_cannot_work_is_refused_before_the_run(options: tuple[str, str], message: str) -> None:
    done = jetspect("bench", "model", BUNDLE, *options)
    assert done.returncode == 2
    assert message in done.stderr
