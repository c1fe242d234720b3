"""The loop that trains a segmentation model from a training file."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import nn
from torch.utils.data import DataLoader

from jetspect.errors import InputError, TrainingError
from jetspect.evaluation.datasets import open_dataset
from jetspect.models.checkpoint import Checkpoint, load_file
from jetspect.models.registry import build_model
from jetspect.training.config import TrainConfig
from jetspect.training.ema import AveragedModel
from jetspect.training.losses import one_hot, segmentation_loss
from jetspect.training.sampling import CropSampler
from jetspect.training.validation import Curve, labelled, score_image, threshold_curves

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
_COLUMNS = ("step", "seconds", "learning_rate", "loss", "iou", "iou_mean", "threshold")


class Trainer:
    """One training run in a folder: ``best.pt`` (checkpoint), ``last.pt`` (resume point), ``log.csv``.

    With the same seed, data and thread count a CPU run gives the same numbers, also when it was interrupted and resumed.

    Parameters
    ----------
    progress
        Called with (what, done, total).

    Raises
    ------
    TrainingError
        Data, model and crops do not fit together, or the loss is no longer finite.
    """

    def __init__(
        self, config: TrainConfig, out: Path, *, data: Path | None = None, progress: Progress = lambda *_: None
    ) -> None:
        self._config, self._out, self._progress = config, out, progress
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
        cv2.setNumThreads(1)  # augmentation runs beside the training step
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        path = data or config.data.path
        train, val = (open_dataset(config.data.dataset, path, split) for split in ("train", "val"))
        self._classes = train.classes
        self._counts = len(train), len(val)
        loading = iter(range(1, len(train) + 1))
        self._sampler = CropSampler(
            train,
            config.crops,
            config.augment,
            channels=config.model.channels,
            steps=config.schedule.steps,
            seed=config.seed,
            on_load=lambda: progress("reading images", next(loading), len(train)),
        )
        self.validation = list(labelled(val, config.model.channels))
        self._mean, self._std = self._sampler.statistics()
        kwargs = {**config.model.kwargs, "in_channels": config.model.channels, "classes": len(self._classes)}
        self._kwargs = kwargs
        self._model = build_model(config.model.name, kwargs).to(self._device)
        self._model = self._model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._average = AveragedModel(self._model, config.schedule.ema)
        self._optimiser = torch.optim.AdamW(
            self._model.parameters(), config.schedule.learning_rate, weight_decay=config.schedule.weight_decay
        )
        self._step, self._best, self._seconds = 0, -1.0, 0.0
        self._losses: list[float] = []
        self._try_one_batch()

    def run(self, *, resume: bool = True) -> Path:
        """Train to the last step, from ``last.pt`` where there is one, and return the path of ``best.pt``."""
        self._out.mkdir(parents=True, exist_ok=True)
        last = self._out / "last.pt"
        if resume and last.is_file():
            self._load(last)
        else:
            for old in (last, self._out / "log.csv"):
                old.unlink(missing_ok=True)
        schedule, started = self._config.schedule, time.monotonic() - self._seconds
        batches: DataLoader[tuple[torch.Tensor, torch.Tensor]] = DataLoader(
            self._sampler,  # type: ignore[arg-type]  # it has __len__ and __getitem__
            batch_size=None,
            sampler=range(self._step, schedule.steps),
            num_workers=1 if schedule.steps - self._step > 100 else 0,
        )
        for images, masks in batches:
            self._losses.append(self._learn(images, masks))
            self._step += 1
            self._seconds = time.monotonic() - started
            self._progress("training", self._step, schedule.steps)
            done = self._step == schedule.steps
            if done or self._step % schedule.validate_every == 0:
                self._validate()
            if done or self._step % schedule.save_every == 0:
                self._save(last)
        return self._out / "best.pt"

    def _learn(self, images: torch.Tensor, masks: torch.Tensor) -> float:
        config = self._config
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate()
        target = one_hot(masks.to(self._device), len(self._classes))
        x = self._normalise(images)
        self._model.train()
        with torch.autocast(self._device.type, torch.bfloat16, enabled=config.bfloat16):
            logits = self._model(x)
        loss = segmentation_loss(logits, target, bce=config.loss.bce, dice=config.loss.dice)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {self._step}; lower schedule.learning_rate ({config.schedule.learning_rate})"
                f" and start again, {self._out / 'last.pt'} still holds the state before"
            )
        self._optimiser.step()
        self._average.update(self._model, self._step)
        return value

    def _rate(self) -> float:
        schedule = self._config.schedule
        warm = min(1.0, (self._step + 1) / schedule.warmup) if schedule.warmup else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * self._step / schedule.steps))
        return schedule.learning_rate * warm * (0.01 + 0.99 * cosine)

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics()
        x = (images.to(self._device).permute(0, 3, 1, 2).float() - mean) / std
        return x.contiguous(memory_format=torch.channels_last)

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = (torch.tensor(v, device=self._device).view(1, -1, 1, 1) for v in (self._mean, self._std))
        return mean, std

    def _validate(self) -> None:
        mean, std = self._statistics()
        model = self._average.model
        done = iter(range(1, len(self.validation) + 1))

        def score(image: Any) -> Any:
            self._progress("validating", next(done), len(self.validation))
            return score_image(model, image, mean, std, bfloat16=False)

        curves = threshold_curves(self.validation, score, len(self._classes))
        levels = [c.best_level for c in curves]
        iou = sum(float(c.iou[n - 1]) for c, n in zip(curves, levels, strict=True)) / len(curves)
        iou_mean = sum(float(c.iou_mean[n - 1]) for c, n in zip(curves, levels, strict=True)) / len(curves)
        recent = self._losses[-self._config.schedule.validate_every :]
        row = (self._step, self._seconds, self._rate(), sum(recent) / len(recent), iou, iou_mean, levels[0] / 255)
        self._log(dict(zip(_COLUMNS, row, strict=True)))
        if iou + iou_mean > self._best:
            self._best = iou + iou_mean
            self._checkpoint(curves, iou, iou_mean).save(self._out / "best.pt")

    def _checkpoint(self, curves: list[Curve], iou: float, iou_mean: float) -> Checkpoint:
        thresholds = tuple(c.best_level / 255 for c in curves)
        return Checkpoint(
            model=self._config.model.name,
            kwargs=self._kwargs,
            classes=self._classes,
            channels=self._config.model.channels,
            mean=self._mean,
            std=self._std,
            state_dict={k: v.detach().cpu().contiguous() for k, v in self._average.model.state_dict().items()},
            thresholds=thresholds,
            thresholds_low=thresholds,
            min_area_px=tuple(1 for _ in curves),
            info={
                "dataset": self._config.data.dataset,
                "train_images": self._counts[0],
                "val_images": self._counts[1],
                "seed": self._config.seed,
                "step": self._step,
                "minutes": round(self._seconds / 60, 1),
                "device": self._device.type,
                "torch": str(torch.__version__),  # a str subclass that weights_only would refuse
                "val_iou": iou,
                "val_iou_mean": iou_mean,
                "config": self._config.model_dump_json(),
            },
        )

    def _log(self, row: dict[str, float]) -> None:
        path = self._out / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, _COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow({k: round(v, 6) for k, v in row.items()})
        log.info("step %d: loss %.4f, iou %.4f, iou_mean %.4f", row["step"], row["loss"], row["iou"], row["iou_mean"])

    def _save(self, path: Path) -> None:
        draft = path.with_name(f".{path.name}.tmp")
        state = {
            "config": self._config.model_dump_json(),
            "step": self._step,
            "best": self._best,
            "seconds": self._seconds,
            "losses": self._losses[-self._config.schedule.validate_every :],
            "model": self._model.state_dict(),
            "average": self._average.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }
        torch.save(state, draft)
        draft.replace(path)

    def _load(self, path: Path) -> None:
        state = load_file(path)
        if state.get("config") != self._config.model_dump_json():
            raise TrainingError(
                f"{path} belongs to a run with other settings; use another --out, or --restart to replace it"
            )
        self._model.load_state_dict(state["model"])
        self._average.model.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._best, self._seconds = state["step"], state["best"], state["seconds"]
        self._losses = list(state["losses"])

    def _try_one_batch(self) -> None:
        """Find out before the long run whether the model takes these crops and answers in their size."""
        width, height = self._config.crops.size_wh
        channels = self._config.model.channels
        try:
            with torch.no_grad():
                answer = self._average.model(torch.zeros(1, channels, height, width, device=self._device))
        except RuntimeError as error:
            line = str(error).splitlines()[0]
            raise InputError(
                f"the model refuses crops of {width} x {height} px ({line}); use a multiple of its stride"
            ) from error
        if tuple(answer.shape) != (1, len(self._classes), height, width):
            raise InputError(
                f"the model answers {tuple(answer.shape)} for a crop of {width} x {height} px; "
                f"(1, {len(self._classes)}, {height}, {width}) is needed"
            )
