"""Small graphs for the engines that run them on the processor."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper


def graph(dtype: int = TensorProto.UINT8, shape: tuple[object, ...] = ("N", "H", "W", 3)) -> bytes:
    """A graph that hands its input on under another layout."""
    given = helper.make_tensor_value_info("tiles_u8", dtype, list(shape))
    out = helper.make_tensor_value_info("scores_u8", dtype, [shape[0], shape[3], shape[1], shape[2]])
    node = helper.make_node("Transpose", ["tiles_u8"], ["scores_u8"], perm=[0, 3, 1, 2])
    model = helper.make_model(
        helper.make_graph([node], "g", [given], [out]), opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    )
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
