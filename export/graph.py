"""torch -> ONNX: one graph that takes uint8 tiles as the camera gives them and returns uint8 scores.

Normalisation, layout, activation and rounding are nodes of the graph, so they cannot be got wrong on the device.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Literal

import onnx
import onnx.numpy_helper
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from jetspect.errors import ExportError

OPSET = 18
Activation = Literal["sigmoid", "softmax"]
_GLOBAL = ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool", "InstanceNormalization", "GroupNormalization")


class TileGraph(nn.Module):
    """A model between uint8 tiles N x T x T x C and scores N x K x T x T.

    Scores are ``clip(255 p + 0.5)`` cast to uint8, so truncation rounds the same everywhere; with ``as_float`` they are
    the probabilities p themselves, for parity and calibration.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
        activation: Activation = "sigmoid",
        as_float: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        # (x - mean) / std as one multiplication and one addition.
        scale = 1 / torch.tensor(std, dtype=torch.float32)
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", (-torch.tensor(mean, dtype=torch.float32) * scale).view(1, -1, 1, 1))
        self._activation, self._as_float = activation, as_float

    def forward(self, tiles_u8: Tensor) -> Tensor:
        return self._answer(self._activate(self.model(self._normalised(tiles_u8)).float()))

    def _normalised(self, tiles_u8: Tensor) -> Tensor:
        # The cast comes first: TensorRT lets nothing but a cast read uint8.
        return tiles_u8.float().permute(0, 3, 1, 2) * self.get_buffer("scale") + self.get_buffer("shift")

    def _activate(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self._activation == "sigmoid" else logits.softmax(dim=1)

    def _answer(self, p: Tensor) -> Tensor:
        return p if self._as_float else (p * 255 + 0.5).clamp(0, 255).to(torch.uint8)


class FrameGraph(TileGraph):
    """A model that sees whole frames and decides: uint8 N x H x W x C to scores N x K x H x W and decisions N x 1.

    The model answers a coarse mask and a decision, both as logits; the mask's are interpolated to the frame's size (bilinear).
    """

    def forward(self, tiles_u8: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        mask, decision = self.model(self._normalised(tiles_u8))
        # Given as factors, not as a size, the interpolation needs no shape at run time.
        factors = float(tiles_u8.shape[1] // mask.shape[2]), float(tiles_u8.shape[2] // mask.shape[3])
        logits = nn.functional.interpolate(mask.float(), scale_factor=factors, mode="bilinear", align_corners=False)
        return self._answer(self._activate(logits)), self._answer(decision.float().sigmoid())


def to_onnx(graph: TileGraph, *, channels: int, stride_px: int = 1, frame_wh: tuple[int, int] | None = None) -> bytes:
    """Export a tile graph with dynamic batch, height and width (multiples of the stride), or a frame graph of one size.

    Raises
    ------
    ExportError
        torch.export cannot trace the model, for example because its path depends on the data.
    """
    edge = stride_px * max(2, -(-64 // stride_px))
    # Height and width differ and no axis is 1: torch.export specialises what looks equal or trivial.
    height, width = (edge, edge + stride_px) if frame_wh is None else (frame_wh[1], frame_wh[0])
    example = torch.randint(0, 255, (2, height, width, channels), dtype=torch.uint8)
    dim = torch.export.Dim.DYNAMIC
    with _quiet():
        try:
            program = torch.onnx.export(
                graph.eval(),
                (example,),
                dynamo=True,
                dynamic_shapes={"tiles_u8": {0: dim} if frame_wh is not None else {0: dim, 1: dim, 2: dim}},
                input_names=["tiles_u8"],
                output_names=["scores_u8", "decision_u8"] if isinstance(graph, FrameGraph) else ["scores_u8"],
                opset_version=OPSET,
                external_data=False,
                optimize=True,
                verbose=False,
            )
        except Exception as error:  # torch.export raises many unrelated types
            line = next((x for x in str(error).splitlines() if x.strip()), type(error).__name__)
            raise ExportError(f"torch.export cannot turn the model into a graph: {line.strip()[:300]}") from error
        if program is None:
            raise ExportError("torch.onnx.export returned no program; update torch")
        model = onnx.ModelProto()
        model.CopyFrom(program.model_proto)
    model = _clean(model)
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def float_twin(graph: bytes) -> bytes:
    """Return the same graph ended at its activations: probabilities, float32 N x K x H x W, for parity and calibration.

    A decision ends at its own activation: float32 N x 1.

    Raises
    ------
    ExportError
        The graph does not end as :class:`TileGraph` ends.
    """
    model = onnx.load_from_string(graph)
    nodes = model.graph.node
    makers = {output: index for index, node in enumerate(nodes) for output in node.output}
    tail = set()
    for output in model.graph.output:
        index = makers[output.name]
        while nodes[index].op_type in ("Cast", "Clip", "Add", "Mul", "Min", "Max"):
            tail.add(index)
            index = makers[nodes[index].input[0]]
        if nodes[index].op_type not in ("Sigmoid", "Softmax"):
            raise ExportError(
                f"the graph ends in {nodes[index].op_type}, not in a Sigmoid or Softmax that is scaled to 255"
            )
        output.name = nodes[index].output[0]
        output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for index in sorted(tail, reverse=True):
        del nodes[index]
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString()
    return data


def pools_globally(graph: bytes) -> str | None:
    """Return the name of an operator that looks at the whole height or width at once; None where every answer is local.

    Such a model gives a pixel another answer in another tile, however large the halo.
    """
    model = onnx.load_from_string(graph)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    for node in model.graph.node:
        if node.op_type in _GLOBAL:
            return str(node.op_type)
        if node.op_type.startswith("Reduce"):
            axes = [a for attribute in node.attribute if attribute.name == "axes" for a in attribute.ints]
            if len(node.input) > 1 and node.input[1] in constants:
                axes = constants[node.input[1]].ravel().tolist()
            # N, C, H, W: the mean over channels is local, one over rows or columns is not.
            if not axes or any(axis % 4 in (2, 3) for axis in axes):
                return str(node.op_type)
    return None


def fold_batch_norm(model: nn.Module) -> nn.Module:
    """Fold every BatchNorm that directly follows a convolution in a Sequential into it, in place."""
    for child in model.children():
        fold_batch_norm(child)
    if isinstance(model, nn.Sequential):
        for index in range(len(model) - 1):
            first, second = model[index], model[index + 1]
            if isinstance(first, (nn.Conv2d, nn.ConvTranspose2d)) and isinstance(second, nn.BatchNorm2d):
                transposed = isinstance(first, nn.ConvTranspose2d)
                model[index] = fuse_conv_bn_eval(first, second, transpose=transposed)
                model[index + 1] = nn.Identity()
    return model


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes about the machine: stack traces, file names, Python names."""
    model.producer_name, model.doc_string = "jetspect", ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "tiles_to_scores", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    _read_through_cast(graph)
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    for value in (*graph.input, *graph.output):
        axes = ("N", "H", "W", "") if value in graph.input else ("N", "", "H", "W")
        for axis, label in zip(value.type.tensor_type.shape.dim, axes, strict=False):
            if label and not axis.HasField("dim_value"):  # a frame graph has one size
                axis.dim_param = label
    return model


def _read_through_cast(graph: onnx.GraphProto) -> None:
    """Let nothing but the first Cast read the uint8 input, as TensorRT asks: models also look at its shape."""
    image = graph.input[0].name
    index = next((i for i, n in enumerate(graph.node) if n.op_type == "Cast" and n.input[0] == image), None)
    if index is None:
        return
    cast = onnx.NodeProto.FromString(graph.node[index].SerializeToString())
    del graph.node[index]
    graph.node.insert(0, cast)
    for node in graph.node[1:]:
        for position, tensor in enumerate(node.input):
            if tensor == image:
                node.input[position] = cast.output[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own chatter off the terminal; its failures still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
