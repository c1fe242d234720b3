"""Phases of a run: which steps, which parts learn, how fast, with which loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from jetspect.errors import TrainingError
from jetspect.training.config import LossSettings, PhaseSettings, ScheduleSettings, TrainConfig


@dataclass(frozen=True)
class Phase:
    """Steps ``start`` to ``end`` (not included) of a run."""

    start: int
    end: int
    train: tuple[str, ...]
    learning_rate: float
    loss: LossSettings

    def rate(self, step: int, *, warmup: int, cosine: bool) -> float:
        """Return the learning rate of a step: linear warm-up at the start of the phase, then the chosen decay.

        The warm-up takes at most a tenth of the phase.
        """
        done = step - self.start
        warmup = min(warmup, (self.end - self.start) // 10)
        warm = min(1.0, (done + 1) / warmup) if warmup else 1.0
        decay = 0.5 * (1 + math.cos(math.pi * done / (self.end - self.start))) if cosine else 1.0
        return self.learning_rate * warm * (0.01 + 0.99 * decay)


def plan_phases(config: TrainConfig, images: int) -> tuple[Phase, ...]:
    """Lay the phases of a training file one after the other; ``images`` is the length of an epoch."""
    schedule = config.schedule
    only = PhaseSettings(epochs=schedule.epochs) if schedule.epochs else PhaseSettings(steps=schedule.steps)
    phases: list[Phase] = []
    for settings in config.phases or (only,):
        steps = settings.steps or steps_of((settings.epochs or 1) * images, config.crops.batch)
        start = phases[-1].end if phases else 0
        rate = settings.learning_rate or schedule.learning_rate
        phases.append(Phase(start, start + steps, settings.train, rate, settings.loss or config.loss))
    return tuple(phases)


def steps_of(images: int, batch: int) -> int:
    """Return the number of batches that hold so many images."""
    return -(-images // batch)


def let_learn(model: nn.Module, parts: Iterable[str]) -> None:
    """Set the named parts of a model to training mode and freeze the rest; none named: everything learns.

    Frozen parts keep the statistics of their batch normalisation.

    Raises
    ------
    TrainingError
        The model has no such part.
    """
    chosen = tuple(parts)
    model.train()
    model.requires_grad_(True)
    if not chosen:
        return
    own = dict(model.named_children())
    if unknown := sorted(set(chosen) - set(own)):
        raise TrainingError(
            f"phases.train names {', '.join(unknown)}, which the model does not have; its parts are {', '.join(own)}"
        )
    for name, part in own.items():
        if name not in chosen:
            part.eval()
            part.requires_grad_(False)


def make_optimiser(model: nn.Module, schedule: ScheduleSettings) -> torch.optim.Optimizer:
    """Return the optimiser that a training file asks for."""
    rate, decay = schedule.learning_rate, schedule.weight_decay
    if schedule.optimiser == "sgd":
        return torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=decay)
    kind = torch.optim.AdamW if schedule.optimiser == "adamw" else torch.optim.Adam
    return kind(model.parameters(), rate, weight_decay=decay)
