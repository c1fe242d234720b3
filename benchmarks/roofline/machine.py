"""What this machine can do at best: how fast memory is copied, and how fast the engine multiplies."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from time import perf_counter_ns

import numpy as np

from jetspect.errors import MissingDependencyError
from jetspect.runtime.engines.base import Engine

_COPY_BYTES = 96 * 1024**2  # beyond any cache
_CHANNELS, _EDGE, _LAYERS = 512, 64, 2


def copy_bandwidth(runs: int = 7) -> float:
    """Return bytes read and written per second by one core that copies, the best of some runs."""
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.zeros_like(source)
    return 2 * _COPY_BYTES / (min(_time(lambda: np.copyto(target, source)) for _ in range(runs)) / 1e9)


def peak_macs(engine: Engine, runs: int = 9) -> float:
    """Return multiply-accumulates per second of an engine that runs :func:`gemm_graph`, the best of some runs."""
    tile = np.ones((1, _EDGE, _EDGE, 3), np.uint8)
    engine.run(tile)
    macs = _EDGE * _EDGE * _CHANNELS * (3 + _CHANNELS * _LAYERS + 1)
    return macs / (min(_time(lambda: engine.run(tile)) for _ in range(runs)) / 1e9)


def gemm_graph() -> bytes:
    """Return a graph of large matrix products (convolutions of one pixel) between uint8 tiles and scores.

    Raises
    ------
    MissingDependencyError
        onnx is not installed.
    """
    try:
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise MissingDependencyError("onnx", "measuring an engine's peak", "pip install 'jetspect[export]'") from error
    rng = np.random.default_rng(0)
    sizes = [3, *[_CHANNELS] * (_LAYERS + 1), 1]
    weights, nodes = (
        [],
        [
            helper.make_node("Cast", ["tiles_u8"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["float"], ["x0"], perm=[0, 3, 1, 2]),
        ],
    )
    for n, (before, after) in enumerate(pairwise(sizes)):
        weight = (rng.standard_normal((after, before, 1, 1)) / np.sqrt(before)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{n}"))
        nodes.append(helper.make_node("Conv", [f"x{n}", f"w{n}"], [f"x{n + 1}"]))
    last = len(sizes) - 1
    nodes.append(helper.make_node("Sigmoid", [f"x{last}"], ["p"]))
    nodes.append(helper.make_node("Cast", ["p"], ["scores_u8"], to=TensorProto.UINT8))
    graph = helper.make_graph(
        nodes,
        "gemm",
        [helper.make_tensor_value_info("tiles_u8", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("scores_u8", TensorProto.UINT8, ["n", 1, "h", "w"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def _time(call: Callable[[], object]) -> int:
    start = perf_counter_ns()
    call()
    return perf_counter_ns() - start
