from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from jetspect.calibration.calibrate import calibrate
from jetspect.calibration.crops import select_crops
from jetspect.calibration.gate import Limits
from jetspect.calibration.judge import Judge
from jetspect.calibration.network import Network
from jetspect.calibration.options import CalibrateOptions
from jetspect.calibration.outcome import Outcome
from jetspect.evaluation.datasets import DataSet, open_dataset
from jetspect.export.bundle import ExportJob, export_bundle
from jetspect.export.graph import TileGraph, float_twin, fold_batch_norm, to_onnx
from jetspect.models.unet import UNet
from jetspect.runtime.bundle import Bundle
from jetspect.runtime.manifest import ClassSpec, OutputContract, Provenance

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
MEAN, STD, TILE_PX = 100.0, 60.0, 64


class Sketch:
    """Draws a graph from uint8 tiles to probabilities node by node, with random weights named as the exporter names them."""

    def __init__(self, channels: int = 3, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._rng, self._channels = np.random.default_rng(seed), channels
        cast = self.op("Cast", "tiles_u8", to=TensorProto.FLOAT)
        moved = self.op("Transpose", cast, perm=[0, 3, 1, 2])
        self.image = self.op("Mul", moved, self.constant("scale", np.float32(1 / 60)))

    def op(self, kind: str, *inputs: str, name: str = "", domain: str = "", **attributes: Any) -> str:
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [output], name=f"node_{output}", domain=domain, **attributes)
        )
        return output

    def constant(self, name: str, values: npt.ArrayLike) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def conv(
        self,
        data: str,
        weight: str,
        channels: tuple[int, int],
        kernel: int = 3,
        *,
        stride: int = 1,
        group: int = 1,
        transposed: bool = False,
    ) -> str:
        """Add a convolution whose weights are called ``weight``.weight; its output has the name of its node."""
        inside, outside = channels
        shape = (inside, outside // group) if transposed else (outside, inside // group)
        spread = (2 * group / (inside * kernel**2)) ** 0.5
        values = self._rng.normal(0, spread, (*shape, kernel, kernel))
        inputs = [data, self.constant(f"{weight}.weight", values)]
        inputs.append(self.constant(f"{weight}.bias", self._rng.normal(0, 0.1, outside)))
        pad = 0 if transposed else kernel // 2
        kind = "ConvTranspose" if transposed else "Conv"
        return self.op(
            kind, *inputs, name=weight, strides=[stride] * 2, pads=[pad] * 4, group=group, kernel_shape=[kernel] * 2
        )

    def graph(self, logits: str, *, activate: bool = True) -> bytes:
        """End the graph, with a Sigmoid unless told otherwise."""
        answer = self.op("Sigmoid", logits, name="probabilities") if activate else logits
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            [helper.make_tensor_value_info("tiles_u8", TensorProto.UINT8, ["N", "H", "W", self._channels])],
            [helper.make_tensor_value_info(answer, TensorProto.FLOAT, None)],
            self.constants,
        )
        domains = sorted({n.domain for n in self.nodes} - {""})
        opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(d, 1) for d in domains)]
        data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
        return data


class Residual(nn.Module):
    """A shortcut that passes its input on, one that projects it, and a way up again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.same = nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.down = nn.ModuleList([nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.Conv2d(32, 32, 3, padding=1)])
        self.shortcut = nn.Conv2d(16, 32, 1, stride=2)
        self.up = nn.ConvTranspose2d(32, 16, 4, stride=4)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (self.same[1](self.same[0](x).relu()) + x).relu()
        x = (self.down[1](self.down[0](x).relu()) + self.shortcut(x)).relu()
        logits: Tensor = self.head(self.up(x).relu())
        return logits


@pytest.fixture(scope="session")
def sketch() -> type[Sketch]:
    return Sketch


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of dark noisy images with bright rectangles, large and small, and their masks."""
    root = tmp_path_factory.mktemp("blobs") / "set"
    rng = np.random.default_rng(0)
    for split, count in (("train", 14), ("val", 9)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            image, mask = _blobs(rng, (96, 128), number % 4)
            cv2.imwrite(str(root / split / "images" / f"{number}.png"), image)
            cv2.imwrite(str(root / split / "masks" / f"{number}.png"), mask * 255)
    return root


def _blobs(rng: np.random.Generator, size_hw: tuple[int, int], count: int) -> tuple[U8, U8]:
    smooth = cv2.resize(rng.uniform(40, 90, (6, 8, 3)).astype(np.float32), size_hw[::-1])
    image = smooth + rng.normal(0, 10, (*size_hw, 3))
    mask = np.zeros(size_hw, np.uint8)
    for number in range(count):
        side = int(rng.integers(12, 30)) if number else int(rng.integers(5, 9))
        y, x = (int(rng.integers(0, edge - side)) for edge in size_hw)
        mask[y : y + side, x : x + side] = 1
    image[mask > 0] = rng.normal(210, 10, (int(mask.sum()), 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def segmenter(blobs: Path, one_thread: None) -> nn.Module:
    """A small U-Net that finds the rectangles: random layers, statistics of the images, and a head fitted by least squares."""
    torch.manual_seed(0)
    model = UNet(3, 1, width=16, depth=1)
    data = open_dataset("folder", blobs, "train")
    samples = [data[i] for i in range(len(data))]
    images, masks = [s.image for s in samples], [s.mask for s in samples if s.mask is not None]
    x = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - MEAN) / STD
    seen: list[Tensor] = []
    hook = model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model.train()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # means of all that is seen
        model(x)
        model.eval()(x)
        features = seen[-1].permute(0, 2, 3, 1).reshape(-1, 16).double()
        features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
        wanted = 8 * torch.from_numpy(np.stack(masks)).reshape(-1, 1).double() - 4
        found = torch.linalg.lstsq(features, wanted).solution.float()
        assert isinstance(model.head, nn.Conv2d) and model.head.bias is not None
        model.head.weight.copy_(found[:-1].reshape(1, 16, 1, 1))
        model.head.bias.copy_(found[-1])
    hook.remove()
    return model


@pytest.fixture(scope="session")
def bundle(segmenter: nn.Module, blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of that network, FP32 and FP16; not to be written to."""
    data = open_dataset("folder", blobs, "train")
    texture = np.concatenate([np.concatenate([data[2 * i + j].image for j in range(2)], axis=1) for i in range(3)])
    job = ExportJob(
        model=segmenter,
        name="blobs",
        version="1.0",
        classes=(ClassSpec(name="defect", threshold=0.5, threshold_low=0.4, min_area_px=3),),
        mean=(MEAN,) * 3,
        std=(STD,) * 3,
        tiles=select_crops(data, 4, TILE_PX, channels=3).tiles,
        texture=texture,
        provenance=Provenance(model="unet"),
        golden=2,
    )
    path = tmp_path_factory.mktemp("bundle") / "blobs"
    export_bundle(job, path)
    return path


@pytest.fixture(scope="session")
def unet_graph(bundle: Path) -> bytes:
    """The U-Net from uint8 tiles to uint8 scores."""
    return Bundle.open(bundle).graph("fp32")


@pytest.fixture(scope="session")
def unet(unet_graph: bytes) -> Network:
    return Network(float_twin(unet_graph))


@pytest.fixture(scope="session")
def residual(one_thread: None) -> Network:
    """A network of residual blocks as the exporter writes it."""
    torch.manual_seed(1)
    model = fold_batch_norm(Residual().eval())
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return Network(float_twin(to_onnx(TileGraph(model, (MEAN,) * 3, (STD,) * 3), channels=3, stride_px=4)))


@pytest.fixture(scope="session")
def grouped() -> Network:
    """Convolutions in groups, plain and transposed, and one per channel."""
    drawing = Sketch(seed=2)
    x = drawing.op("Relu", drawing.conv(drawing.image, "model.stem", (3, 32), stride=2))
    x = drawing.op("Relu", drawing.conv(x, "model.body.0", (32, 32), group=4))
    x = drawing.op("Relu", drawing.conv(x, "model.body.3", (32, 32), group=32))
    x = drawing.op("Relu", drawing.conv(x, "model.up", (32, 32), 2, stride=2, group=2, transposed=True))
    return Network(drawing.graph(drawing.conv(x, "model.head", (32, 1), 1)))


@pytest.fixture(scope="session")
def networks(unet: Network, residual: Network, grouped: Network) -> dict[str, Network]:
    return {"unet": unet, "residual": residual, "grouped": grouped}


@pytest.fixture(scope="session")
def tiles(blobs: Path) -> U8:
    """Sixteen tiles with and without defects."""
    return select_crops(open_dataset("folder", blobs, "train"), 16, TILE_PX, channels=3).tiles


@pytest.fixture(scope="session")
def output() -> OutputContract:
    return OutputContract(classes=(ClassSpec(name="defect", threshold=0.5, threshold_low=0.4, min_area_px=3),))


@pytest.fixture(scope="session")
def make_judge(blobs: Path, output: OutputContract) -> Callable[..., Judge]:
    """Make judges on tiles of the val images; each remembers one network's FP32 answers."""
    data: DataSet = open_dataset("folder", blobs, "val")

    def make(count: int = 8) -> Judge:
        return Judge(select_crops(data, count, TILE_PX, channels=3), data, output)

    return make


@pytest.fixture(scope="session")
def options(blobs: Path) -> Callable[..., CalibrateOptions]:
    """Make options for the small bundle, whose INT8 may lose more than a plant would let it."""

    def make(**changes: object) -> CalibrateOptions:
        parts = {"dataset": "folder", "data": blobs, "crops": 16, "tile_px": 64, "judge_tiles": 8, "least_int8": 0.3}
        return CalibrateOptions(**{"limits": Limits(0.05, 0.1), **parts, **changes})  # type: ignore[arg-type]

    return make


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "blobs"))


@pytest.fixture(scope="session")
def done(
    bundle: Path, options: Callable[..., CalibrateOptions], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome, list[str]]:
    """A calibrated bundle; not to be written to."""
    path = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("calibrated") / "blobs"))
    steps: list[str] = []
    outcome = calibrate(path, options(), lambda what, *_: steps.append(what))
    return path, outcome, steps
