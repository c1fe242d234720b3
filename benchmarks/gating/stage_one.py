"""A first stage for bundles that have none: a graph that calls everything brighter than a plain background part.

It is the cheapest first stage there can be, and right on the scenes of this benchmark only. One that was trained costs more: a
pass over a frame shrunk 4 to 8 times.
"""

from __future__ import annotations

import numpy as np

from jetspect.benchmarks.gating.scenes import BACKGROUND_LEVEL
from jetspect.errors import MissingDependencyError
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.manifest import ForegroundSpec, InputContract, Provenance

SCALE = 8
MARGIN_PX = 32
_LEVEL = 2.5 * BACKGROUND_LEVEL
_GAIN = 0.5  # per grey level; two grey levels above the limit is sure


def with_stage_one(bundle: Bundle) -> Bundle:
    """Return the bundle as one of two stages, in memory only; its first stage's engine runs :func:`brightness_graph`."""
    spec = ForegroundSpec(
        provenance=Provenance(model="brightness, for jetspect bench gating"),
        input=InputContract(mean=(0.0,) * 3, std=(1.0,) * 3),
        scale=SCALE,
        stride_px=1,
        threshold=0.5,
        margin_px=MARGIN_PX,
        graphs=bundle.manifest.graphs,  # of stage two: this first stage is never stored, so it has no files of its own
        golden=bundle.manifest.golden,
    )
    manifest = bundle.manifest.model_copy(update={"foreground": spec})
    return Bundle(bundle.path, {n: bundle.file(n) for n in bundle.sizes}, manifest, signature=bundle.signature)


def brightness_graph() -> bytes:
    """Return the graph: uint8 N x H x W x 3 in, uint8 N x 1 x H x W out.

    Raises
    ------
    MissingDependencyError
        onnx is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError as error:
        raise MissingDependencyError("onnx", "a first stage", "pip install 'jetspect[export]'") from error
    weight = np.full((1, 3, 3, 3), _GAIN / 27, np.float32)
    constants = {
        "weight": weight,
        "bias": np.array([-_GAIN * _LEVEL], np.float32),
        "levels": np.array(255, np.float32),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["tiles_u8"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weight", "bias"], ["logit"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
        helper.make_node("Mul", ["probability", "levels"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["scores_u8"], to=TensorProto.UINT8),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("tiles_u8", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("scores_u8", TensorProto.UINT8, ["n", 1, "h", "w"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
