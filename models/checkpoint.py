"""Trained weights with everything needed to use them, in one file that holds no code."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from jetspect.errors import InputError
from jetspect.models.registry import build_model
from jetspect.models.weights import load_file, load_weights

FORMAT = 1
# Fields that files written before them do not have.
LATER = frozenset({"max_area_px", "max_aspect", "frame_wh", "decision_threshold"})


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
    max_area_px, max_aspect
        Likewise, None for no limit; empty in files written before these limits were.
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
    max_area_px: tuple[int | None, ...] = ()
    max_aspect: tuple[float | None, ...] = ()
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
