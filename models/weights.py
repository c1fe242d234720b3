"""Read weights from files that hold no code, and put them into models."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jetspect.errors import InputError


def load_file(path: Path) -> dict[str, Any]:
    """Read a dictionary that torch.save wrote, refusing anything that would run code.

    Raises
    ------
    InputError
        The file cannot be read, is no checkpoint, or holds more than tensors and plain types.
    """
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read: {error.strerror or error}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about pickles that are not its own; they are refused below
            data = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is not a checkpoint of tensors and plain types, or holds code and is not loaded; save a state_dict"
        ) from error
    # A half-copied file makes torch seek before its start: an OSError, though the disk is fine.
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, LookupError) as error:
        raise InputError(f"{path} is damaged or not a checkpoint; copy or save it again") from error
    if not isinstance(data, dict):
        raise InputError(f"{path} holds a {type(data).__name__}, a dictionary of weights is needed")
    return data


def load_weights(model: nn.Module, state_dict: dict[str, torch.Tensor], *, where: str) -> None:
    """Load weights strictly and refuse NaN and infinity, naming the tensors."""
    expected, given = model.state_dict(), state_dict
    if missing := sorted(set(expected) - set(given)):
        raise InputError(f"{where} lacks {_some(missing)}; do model and arguments belong to these weights?")
    if extra := sorted(set(given) - set(expected)):
        raise InputError(f"{where} has {_some(extra)}, which the model does not; do model and arguments belong to it?")
    for name, tensor in expected.items():
        if tensor.shape != given[name].shape:
            raise InputError(f"{where}: {name} is {tuple(given[name].shape)}, the model needs {tuple(tensor.shape)}")
        if given[name].is_floating_point() and not bool(torch.isfinite(given[name]).all()):
            raise InputError(f"{where}: {name} holds NaN or infinity; the training diverged, use an earlier checkpoint")
    model.load_state_dict(state_dict)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
