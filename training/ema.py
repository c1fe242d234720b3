"""Exponential moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class AveragedModel:
    """Follows a model; its weights are the ones to keep, since they jump less from batch to batch."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after ``step`` steps; early steps count more, so that the start is soon forgotten."""
        decay = min(self._decay, 1 - 1 / (step / 4 + 1))
        for average, current in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if average.is_floating_point():
                average.lerp_(current, 1 - decay)
            else:
                average.copy_(current)
