"""Trained weights with everything needed to use them, in one file that holds no code."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jetspect.errors import InputError
from jetspect.models.registry import build_model

FORMAT = 1
# Fields that files written before them do not have.
LATER = frozenset({"frame_wh", "decision_threshold"})


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained model.

    Attributes
    ----------
    model, kwargs
        Registered name or ``module:factory``, and its arguments.
    mean, std
        Per channel, on the 0-255 scale.
    thresholds, thresholds_low, min_area_px
        Per class, fitted on validation data.
    info
        Where the weights come from: plain types only.
    frame_wh
        For a model that sees whole frames: the width and height they are resized to, in px.
    decision_threshold
        For a model that decides on whole images: at or above this probability an image is defective.
    """

    model: str
    kwargs: dict[str, Any]
    classes: tuple[str, ...]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    state_dict: dict[str, torch.Tensor]
    thresholds: tuple[float, ...] = ()
    thresholds_low: tuple[float, ...] = ()
    min_area_px: tuple[int, ...] = ()
    info: dict[str, Any] = field(default_factory=dict)
    frame_wh: tuple[int, int] | None = None
    decision_threshold: float | None = None

    def build(self) -> nn.Module:
        """Return the model with its weights, in evaluation mode.

        Raises
        ------
        InputError
            The weights do not fit the model, or hold NaN or infinity.
        """
        model = build_model(self.model, self.kwargs)
        load_weights(model, self.state_dict, where=f"the checkpoint of {self.model}")
        return model.eval()

    def save(self, path: Path) -> None:
        """Write the checkpoint; a kill leaves the old file or the new one, never half of it."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.tmp")
        torch.save({"format": FORMAT, **data}, draft)
        draft.replace(path)

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint; see :func:`load_file`."""
        data = load_file(path)
        names = {f.name for f in fields(cls)}
        if data.get("format") != FORMAT or not names - LATER <= set(data):
            raise InputError(
                f"{path} is not a jetspect checkpoint; for bare weights give --model module:factory and --classes"
            )
        return cls(**{name: data[name] for name in names if name in data})


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
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
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
