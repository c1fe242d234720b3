"""U-Nets with published encoders, from segmentation-models-pytorch (Leontaris et al., sink inspection, section 3).

Res50-UNet and EffUNet-B0/B3/B7. The squeeze-and-excitation blocks of EfficientNet pool over the whole input: no halo makes
tiles of an EffUNet exact, its bundle blends overlapping tiles instead. Res50-UNet tiles exactly.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jetspect.errors import InputError, MissingDependencyError
from jetspect.models.weights import load_file, load_weights

ENCODERS = {
    "res50-unet": "resnet50",
    "effunet-b0": "efficientnet-b0",
    "effunet-b3": "efficientnet-b3",
    "effunet-b7": "efficientnet-b7",
}
_log = logging.getLogger(__name__)


def encoder_unet(encoder: str, in_channels: int = 3, classes: int = 1, **kwargs: Any) -> nn.Module:
    """Return a U-Net on a named encoder with random weights; logits N x classes x H x W out.

    Raises
    ------
    MissingDependencyError
        segmentation-models-pytorch is not installed.
    InputError
        It has no such encoder, or refuses the arguments.
    """
    smp = _library()
    try:
        model: nn.Module = smp.Unet(encoder, encoder_weights=None, in_channels=in_channels, classes=classes, **kwargs)
    except (KeyError, ValueError) as error:
        raise InputError(f"no U-Net can be made on encoder {encoder!r} with {kwargs}: {error}") from error
    return model


def load_encoder(model: nn.Module, name: str, weights: str) -> str:
    """Put pretrained weights into the encoder of a model and say in words where they come from.

    Parameters
    ----------
    weights
        ``imagenet`` fetches the published weights; where that fails, a warning is given and the weights stay random.
        Anything else is the path of a file: a state_dict of the encoder, or of the classifier it is taken from.

    Raises
    ------
    InputError
        The model has no encoder of its own, the file cannot be read, or its weights do not fit.
    """
    encoder = getattr(model, "encoder", None)
    if name not in ENCODERS or not isinstance(encoder, nn.Module):
        raise InputError(f"model {name} has no published encoder to load weights into; leave model.weights empty")
    if weights == "imagenet":
        return _fetch(model, name)
    given = load_file(Path(weights))
    given = given.get("state_dict", given)
    own = encoder.state_dict()
    # A classifier's file holds its last layers too; they have no place in an encoder.
    load_weights(encoder, {k: v for k, v in given.items() if k in own}, where=f"{weights} (encoder of {name})")
    return f"file {Path(weights).name}"


def _fetch(model: nn.Module, name: str) -> str:
    smp = _library()
    channels = next(p for p in model.parameters() if p.ndim == 4).shape[1]
    try:
        source = smp.encoders.get_encoder(ENCODERS[name], in_channels=channels, weights="imagenet")
    except OSError as error:  # what the hub's client raises is an OSError, offline or refused
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        _log.warning(
            "the ImageNet weights of %s cannot be fetched (%s): training starts from random weights; "
            "give a local file as model.weights to start from pretrained ones",
            name,
            line,
        )
        return "random (ImageNet weights could not be fetched)"
    with torch.no_grad():
        model.get_submodule("encoder").load_state_dict(source.state_dict())
    return "imagenet"


def _library() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the libraries it imports, about each other
            import segmentation_models_pytorch as smp
    except ImportError as error:
        raise MissingDependencyError(
            "segmentation-models-pytorch", "this model", "pip install 'jetspect[train]'"
        ) from error
    return smp
