"""The graph does what the PyTorch model does, from the camera's bytes to the score's bytes, and nothing else is in it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from jetspect.errors import ExportError
from jetspect.export.graph import TileGraph, float_twin, fold_batch_norm, pools_globally, to_onnx
from jetspect.export.parity import float_scorer
from jetspect.export.typed import to_half
from jetspect.models.unet import UNet
from jetspect.runtime.engines.onnxruntime import OnnxRuntimeEngine
from jetspect.runtime.onnx_scan import scan_onnx

U8 = npt.NDArray[np.uint8]
MEAN, STD = (100.0, 120.0, 140.0), (40.0, 50.0, 60.0)
Trained = Callable[..., nn.Module]


class Loose(nn.Module):
    """Batch norms as attributes, called in ``forward``, as many published networks have them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.up, self.up_norm = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(torch.max_pool2d(x, 2))))
        answer: Tensor = self.head(torch.relu(self.up_norm(self.up(x))))
        return answer


def by_hand(model: nn.Module, tiles: U8, activation: str) -> npt.NDArray[np.float64]:
    """What the scores must be, in double precision."""
    x = (tiles.astype(np.float64) - np.array(MEAN)[: tiles.shape[3]]) / np.array(STD)[: tiles.shape[3]]
    with torch.no_grad():
        logits = copy.deepcopy(model).double()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    if activation == "sigmoid":
        p = 1 / (1 + np.exp(-logits))
    else:
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
    return np.asarray(255 * p)


def export(model: nn.Module, *, channels: int = 3, stride: int = 4, **options: Any) -> bytes:
    graph = TileGraph(copy.deepcopy(model), MEAN[:channels], STD[:channels], **options)
    return to_onnx(graph, channels=channels, stride_px=stride)


@pytest.fixture(scope="module")
def unet(trained: Trained) -> nn.Module:
    return trained(UNet(3, 2, width=4, depth=2))


@pytest.fixture(scope="module")
def exported(unet: nn.Module) -> bytes:
    return export(fold_batch_norm(copy.deepcopy(unet)))


@pytest.fixture(scope="module")
def exported_half(exported: bytes) -> bytes:
    return to_half(exported)


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 64, 48), (5, 4, 100)])
def test_bytes_in_give_the_scores_computed_by_hand_at_any_batch_and_size(
    unet: nn.Module, exported: bytes, shape: tuple[int, int, int]
) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    with OnnxRuntimeEngine(exported) as engine:
        assert engine.dynamic
        got = engine.run(tiles)
    # Half a level is the rounding, the rest single precision.
    assert np.abs(got - by_hand(unet, tiles, "sigmoid")).max() <= 0.501


def test_grey_tiles_and_softmax_are_in_the_graph_too(trained: Trained) -> None:
    model = trained(UNet(1, 3, width=4, depth=1))
    tiles = np.random.default_rng(2).integers(0, 256, (2, 32, 40, 1), np.uint8)
    with OnnxRuntimeEngine(export(model, channels=1, stride=2, activation="softmax")) as engine:
        assert np.abs(engine.run(tiles) - by_hand(model, tiles, "softmax")).max() <= 0.501


def test_every_level_is_reached_and_rounded_to_the_nearest() -> None:
    """A model that passes the pixel on as its logit: 0 stays 0, 255 becomes 255, halves go up."""
    model = nn.Conv2d(1, 1, 1)
    nn.init.constant_(model.weight, 8.0)
    nn.init.zeros_(model.bias)  # type: ignore[arg-type]
    tiles = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    with OnnxRuntimeEngine(export(model, channels=1)) as engine:
        scores = engine.run(tiles)
    expected = by_hand(model, tiles, "sigmoid")
    assert np.abs(scores - expected).max() <= 0.5001
    assert (scores.min(), scores.max()) == (0, 255)


def test_the_float_twin_gives_the_probabilities_of_the_same_graph(unet: nn.Module, exported: bytes) -> None:
    tiles = np.random.default_rng(3).integers(0, 256, (2, 32, 64, 3), np.uint8)
    assert np.abs(255 * float_scorer(float_twin(exported))(tiles) - by_hand(unet, tiles, "sigmoid")).max() < 1e-3
    with pytest.raises(ExportError, match="the graph ends in Identity, not in a Sigmoid"):
        model = onnx.load_from_string(exported)
        model.graph.node.append(onnx.helper.make_node("Identity", [model.graph.output[0].name], ["end"]))
        model.graph.output[0].name = "end"
        float_twin(model.SerializeToString())


@pytest.mark.parametrize("half", [False, True])
def test_no_batch_norm_is_left_where_one_follows_a_convolution(trained: Trained, half: bool) -> None:
    loose = trained(Loose())
    data = export(loose, stride=2)
    if half:
        data = to_half(data)
    tiles = np.random.default_rng(4).integers(0, 256, (1, 32, 32, 3), np.uint8)
    assert "BatchNormalization" not in operators(data)
    with OnnxRuntimeEngine(data) as engine:
        assert np.abs(engine.run(tiles) - by_hand(loose, tiles, "sigmoid")).max() <= (4 if half else 0.501)


def test_folding_keeps_what_the_model_answers(trained: Trained) -> None:
    model = trained(UNet(3, 1, width=4, depth=2, stem_stride=2))
    folded = fold_batch_norm(copy.deepcopy(model))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(model(x), folded(x), atol=1e-4)


def test_a_graph_is_clean(exported: bytes, exported_half: bytes) -> None:
    """No path, no stack trace, no helper operators, no data elsewhere: only what every engine knows."""
    for data in (exported, exported_half):
        model = onnx.load_from_string(data)
        assert scan_onnx(data).foreign == scan_onnx(data).external == ()
        assert (model.opset_import[0].version, len(model.opset_import), len(model.functions)) == (18, 1, 0)
        for trace in (b".py", b"site-packages", str(Path.cwd()).encode(), b"forward"):
            assert trace not in data
        parts = (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input)
        assert not any(part.metadata_props or part.doc_string for part in parts)
        # Layout is changed once, at the entrance; shapes are not computed at run time.
        assert operators(data).count("Transpose") == 1
        assert not {"Shape", "Reshape", "Gather", "Identity"} & set(operators(data))


def test_the_half_graph_computes_in_half_precision_between_single_ends(
    unet: nn.Module, exported: bytes, exported_half: bytes
) -> None:
    model = onnx.load_from_string(exported_half)
    weights = {t.data_type for t in model.graph.initializer if len(t.dims) == 4 and t.dims[0] > 1}
    assert weights == {TensorProto.FLOAT16}
    assert len(exported_half) < 0.75 * len(exported)
    tiles = np.random.default_rng(5).integers(0, 256, (1, 64, 64, 3), np.uint8)
    with OnnxRuntimeEngine(exported_half, precision="fp16") as engine:
        assert np.abs(engine.run(tiles) - by_hand(unet, tiles, "sigmoid")).max() <= 4


def test_the_same_model_gives_the_same_bytes(unet: nn.Module, exported: bytes) -> None:
    assert export(fold_batch_norm(copy.deepcopy(unet))) == exported


def test_a_model_whose_path_depends_on_the_data_is_refused_in_one_line() -> None:
    class Choosy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1] if float(x.sum()) > 0 else -x[:, :1]

    with pytest.raises(ExportError, match=r"torch\.export cannot turn the model into a graph: ") as caught:
        export(Choosy())
    assert "\n" not in str(caught.value)


def operators(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def test_onnx_runtime_can_optimise_the_graph_without_a_warning(
    exported: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    onnxruntime.InferenceSession(exported, options, providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""


class Pooled(nn.Module):
    """Adds the mean over some axes to what a convolution answers."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.conv, self.axes = nn.Conv2d(3, 1, 3, padding=1), axes

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + (y * y).mean(dim=self.axes, keepdim=True) if self.axes else torch.as_tensor(y)


@pytest.mark.parametrize(("axes", "found"), [((), False), ((1,), False), ((2, 3), True), ((-1,), True)])
def test_an_operator_that_looks_at_the_whole_tile_is_found(axes: tuple[int, ...], found: bool) -> None:
    assert (pools_globally(export(Pooled(*axes))) is not None) is found


def test_normalising_per_image_looks_at_the_whole_tile() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.InstanceNorm2d(2)).eval()
    assert pools_globally(export(model)) is not None
