from __future__ import annotations

import pytest
import torch
from torch import nn

from jetspect.errors import InputError
from jetspect.models.registry import build_model
from jetspect.models.unet import UNet


def test_a_registered_name_and_a_factory_path_make_models() -> None:
    assert isinstance(build_model("unet", {"width": 4, "depth": 1}), UNet)
    assert isinstance(build_model("torch.nn:Identity"), nn.Identity)


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("nosuch", {}, "not known; use dfine, .*unet"),
        ("no_such_package_here:make", {}, "cannot be imported"),
        ("torch.nn:NoSuchLayer", {}, "has no NoSuchLayer"),
        ("torch:__version__", {}, "is not callable"),
        ("builtins:dict", {}, "makes a dict"),
        ("unet", {"widht": 4}, "refuses its arguments"),
    ],
)
def test_faults_say_what_is_wrong(name: str, kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(name, kwargs)


def test_d_fine_is_a_u_net_with_five_skip_connections() -> None:
    model = build_model("dfine", {"in_channels": 1, "classes": 2, "width": 4, "max_width": 16})
    assert isinstance(model, UNet) and len(model.decoder) == len(model.upsample) == 5
    assert model.eval()(torch.zeros(1, 1, 64, 96)).shape == (1, 2, 64, 96)
