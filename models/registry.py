"""Models by name: those that ship with jetspect, and any ``module:factory`` of the user's."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from jetspect.errors import InputError
from jetspect.models.encoders import ENCODERS, encoder_unet
from jetspect.models.partsnet import PartsNet
from jetspect.models.segdec import SegDecNet
from jetspect.models.unet import UNet, plain_unet


def dfine(in_channels: int = 3, classes: int = 1, width: int = 32, max_width: int = 512, stem_stride: int = 1) -> UNet:
    """Return either stage of d-fine (Sheet Metal 2023): a U-Net with five skip connections.

    Their number is the paper's; the widths are ours, since the paper's are not known here.
    """
    return UNet(in_channels, classes, width=width, depth=5, max_width=max_width, stem_stride=stem_stride)


MODELS: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "plain-unet": plain_unet,
    "dfine": dfine,
    "segdec": SegDecNet,
    "partsnet": PartsNet,
    **{name: functools.partial(encoder_unet, encoder) for name, encoder in ENCODERS.items()},
}


def build_model(name: str, kwargs: dict[str, Any] | None = None) -> nn.Module:
    """Build a model from a registered name or ``module:factory`` and the factory's arguments.

    Raises
    ------
    InputError
        The name is not known, the module or factory is missing, refuses the arguments, or makes no ``nn.Module``.
    """
    factory = MODELS.get(name)
    if factory is None:
        if ":" not in name:
            known = ", ".join(sorted(MODELS))
            raise InputError(f"model {name!r} is not known; use {known}, or module:factory for one of your own")
        factory = _import(name)
    try:
        model = factory(**(kwargs or {}))
    except TypeError as error:
        raise InputError(f"model {name} refuses its arguments {kwargs or {}}: {error}") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"model {name} makes a {type(model).__name__}, a torch.nn.Module is needed")
    return model


def _import(name: str) -> Callable[..., nn.Module]:
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(
            f"model {name}: module {module_name} cannot be imported ({error}); is it on PYTHONPATH?"
        ) from error
    except AttributeError as error:
        raise InputError(f"model {name}: module {module_name} has no {attribute}") from error
    if not callable(found):
        raise InputError(f"model {name}: {attribute} is not callable; name a class or function that makes the model")
    return found  # type: ignore[no-any-return]  # checked above to be callable; what it makes is checked by the caller
