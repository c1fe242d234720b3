from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from jetspect.export.bundle import ExportJob
from jetspect.models.unet import UNet
from jetspect.runtime.manifest import ClassSpec, Provenance

U8 = npt.NDArray[np.uint8]
Trained = Callable[..., nn.Module]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small only wait for each other's threads, for seconds where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _texture(edge: int, seed: int = 0) -> U8:
    """Noise on every scale: whatever a network looks at, it finds something."""
    rng = np.random.default_rng(seed)
    image = np.zeros((edge, edge, 3), np.float32)
    for size in (edge // 32, edge // 8, edge // 2, edge):
        noise = rng.normal(0, 25, (size, size, 3)).astype(np.float32)
        image += cv2.resize(noise, (edge, edge), interpolation=cv2.INTER_LINEAR)
    return np.clip(image + 120, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def texture() -> Callable[..., U8]:
    return _texture


@pytest.fixture(scope="session")
def trained() -> Trained:
    """Make a model as if it were trained: statistics of its batch norms and a head that answers with contrast."""

    def make(model: nn.Module, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.1)
            elif isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                nn.init.normal_(module.running_mean, std=0.2)
                nn.init.uniform_(module.running_var, 0.7, 1.5)
                nn.init.uniform_(module.weight, 0.7, 1.3)
                nn.init.normal_(module.bias, std=0.2)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def job(trained: Trained) -> Callable[..., ExportJob]:
    """Make a job for a small U-Net; keywords replace any of its parts."""

    def make(**changes: object) -> ExportJob:
        texture = _texture(256)
        parts: dict[str, object] = {
            "model": trained(UNet(3, 2, width=4, depth=2)),
            "name": "small",
            "version": "1.0",
            "classes": (ClassSpec(name="a", threshold=0.5), ClassSpec(name="b", threshold=0.6)),
            "mean": (120.0, 121.0, 122.0),
            "std": (50.0, 51.0, 52.0),
            "tiles": np.stack([texture[y : y + 64, x : x + 64] for y in (0, 128) for x in (0, 128)]),
            "texture": texture,
            "provenance": Provenance(model="unet"),
            "golden": 2,
            "tile_origins": ("one at 0,0",),
        }
        return ExportJob(**{**parts, **changes})  # type: ignore[arg-type]

    return make
