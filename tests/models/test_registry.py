from __future__ import annotations

import pytest
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
        ("nosuch", {}, "not known; use .*unet"),
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
