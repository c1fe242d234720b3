"""What flows between the nodes of a graph: run it tile by tile and look at any of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from jetspect.errors import CalibrationError

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


def open_session(graph: bytes) -> onnxruntime.InferenceSession:
    """Open a graph on the CPU so that quantised nodes compute what TensorRT computes.

    ONNX Runtime would replace Q/DQ pairs by its own integer kernels, which saturate on processors without VNNI; here every
    Q, DQ and convolution runs by itself instead.

    Raises
    ------
    CalibrationError
        ONNX Runtime cannot load it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises many unrelated types for a bad graph
        line = str(error).strip().splitlines()[0][:300]
        raise CalibrationError(f"ONNX Runtime cannot load the graph: {line}") from error


class Activations:
    """Hands out float tensors of a graph, for one input at a time.

    Parameters
    ----------
    graph
        ONNX bytes. Every name of ``tensors`` is a float32 tensor that one of its nodes makes.
    """

    def __init__(self, graph: bytes, tensors: Sequence[str]) -> None:
        self._tensors = tuple(tensors)
        self._session = open_session(with_outputs(graph, self._tensors))

    def __call__(self, feeds: Mapping[str, npt.NDArray[np.generic]] | U8) -> dict[str, F32]:
        """Return the tensors for tiles uint8 N x H x W x C, or for named inputs."""
        inputs = feeds if isinstance(feeds, Mapping) else {self._session.get_inputs()[0].name: feeds}
        return dict(zip(self._tensors, self._session.run(list(self._tensors), dict(inputs)), strict=True))


def with_outputs(graph: bytes, tensors: Sequence[str]) -> bytes:
    """Return the graph with exactly these outputs, float32 of any shape."""
    model = onnx.load_from_string(graph)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in tensors)
    data: bytes = model.SerializeToString()
    return data
