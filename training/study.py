"""Every model with every loss on one data set: the table of Leontaris et al. (sink inspection, section 4)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from jetspect.errors import InputError, TrainingError
from jetspect.evaluation.metrics import Confusion, confusion
from jetspect.models.checkpoint import Checkpoint
from jetspect.runtime.postprocess.reference import level_of
from jetspect.training.config import LossSettings, TrainConfig
from jetspect.training.loop import Trainer
from jetspect.training.scorer import Scorer

PAPER_MODELS = ("plain-unet", "res50-unet", "effunet-b0", "effunet-b3", "effunet-b7")
LOSSES = {
    "bce": LossSettings(bce=1.0, dice=0.0),
    "dice": LossSettings(bce=0.0, dice=1.0),
    "bce+dice": LossSettings(bce=0.05, dice=0.95),
}
"""The paper's three: binary cross-entropy, Dice, and their sum weighted 0.05 to 0.95."""


@dataclass(frozen=True)
class Cell:
    """One model with one loss: measures over all pixels of the validation images, at one threshold."""

    model: str
    loss: str
    precision: float
    recall: float
    f1: float
    iou: float
    step: int
    minutes: float


def plan(models: tuple[str, ...], losses: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return every pair of model and loss. Raises InputError for a loss that is none of the paper's."""
    if unknown := sorted(set(losses) - set(LOSSES)):
        raise InputError(f"loss {', '.join(unknown)} is not known; use {', '.join(LOSSES)}")
    return [(model, loss) for model in models for loss in losses]


def run_study(
    base: TrainConfig,
    pairs: list[tuple[str, str]],
    out: Path,
    *,
    data: Path | None = None,
    threshold: float = 0.5,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Iterator[Cell]:
    """Train and judge one pair after the other, each in its own folder below ``out``; finished ones are not repeated.

    Parameters
    ----------
    base
        Everything but model and loss. Arguments of the model in it go to every model.

    Raises
    ------
    TrainingError
        A folder holds a run with other settings.
    """
    for model, loss in pairs:
        config = base.model_copy(
            update={"model": base.model.model_copy(update={"name": model}), "loss": LOSSES[loss], "phases": ()}
        )
        yield _cell(config, model, loss, out / f"{model}-{loss}", data, threshold, progress)


def _cell(
    config: TrainConfig,
    model: str,
    loss: str,
    out: Path,
    data: Path | None,
    threshold: float,
    progress: Callable[[str, int, int], None],
) -> Cell:
    settings = {"config": json.loads(config.model_dump_json()), "threshold": threshold}
    done = out / "cell.json"
    if done.is_file():
        stored: dict[str, Any] = json.loads(done.read_text())
        if stored["settings"] != settings:
            raise TrainingError(f"{done} was made with other settings; use another --out, or delete that folder")
        return Cell(**stored["cell"])
    trainer = Trainer(config, out, data=data, progress=progress)
    cell = judge_checkpoint(Checkpoint.load(trainer.run()), trainer, model, loss, threshold)
    done.write_text(json.dumps({"settings": settings, "cell": asdict(cell)}, indent=2) + "\n")
    return cell


def judge_checkpoint(checkpoint: Checkpoint, trainer: Trainer, model: str, loss: str, threshold: float) -> Cell:
    """Compare the masks of the best weights with the true ones, any class against any class."""
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (checkpoint.mean, checkpoint.std))
    scorer = Scorer(checkpoint.build(), mean, std, whole_wh=trainer.whole_wh)
    total, level = Confusion(), level_of(threshold)
    for image, mask in trainer.validation:
        said: npt.NDArray[np.bool_] = np.any(scorer(image).scores >= level, axis=0)
        total += confusion(said, mask > 0)
    info = checkpoint.info
    return Cell(model, loss, total.precision, total.recall, total.f1, total.iou, info["step"], info["minutes"])
