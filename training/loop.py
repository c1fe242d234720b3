"""The loop that trains a segmentation model from a training file."""

from __future__ import annotations

import hashlib
import json
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
from jetspect.models.answer import as_answer
from jetspect.models.checkpoint import Checkpoint
from jetspect.models.encoders import load_encoder
from jetspect.models.registry import build_model
from jetspect.training.config import TrainConfig
from jetspect.training.ema import AveragedModel
from jetspect.training.folder import Row, RunFolder
from jetspect.training.images import load_images
from jetspect.training.objective import Target, objective
from jetspect.training.precision import bfloat16_pays
from jetspect.training.sampling import Batch, make_sampler
from jetspect.training.schedule import Phase, let_learn, make_optimiser, plan_phases, steps_of
from jetspect.training.scorer import Scorer
from jetspect.training.sides import need_defects, open_sides
from jetspect.training.validation import Judgement, judge, labelled

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]


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
        self._config, self._folder, self._progress = config, RunFolder(out), progress
        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads or len(os.sched_getaffinity(0)))
        cv2.setNumThreads(1)  # augmentation runs beside the training step
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._mixed = bfloat16_pays(self._device.type) if config.bfloat16 is None else config.bfloat16
        path = data or config.data.path
        train, val = open_sides(config.data, path)
        self._classes = train.classes
        self._counts = len(train), len(val)
        loading = iter(range(1, len(train) + 1))
        images = load_images(
            train,
            channels=config.model.channels,
            seed=config.seed,
            supervision=config.supervision,
            dilate_px=config.crops.dilate_px,
            with_parts=config.transfer is not None,
            hide_background=config.crops.hide_background,
            on_load=lambda: progress("reading images", next(loading), len(train)),
        )
        self._phases = plan_phases(config, len(images))
        self._validate_every = config.schedule.validate_every or steps_of(len(images), config.crops.batch)
        self._sampler = make_sampler(config, images, self._phases[-1].end)
        self.validation = list(labelled(val, config.model.channels))
        need_defects(self.validation, val)
        self._data = hashlib.sha256(json.dumps([train.classes, *train.ids, *val.ids]).encode()).hexdigest()
        self._mean, self._std = images.statistics()
        kwargs = {**config.model.kwargs, "in_channels": config.model.channels, "classes": len(self._classes)}
        self._kwargs = kwargs
        model = build_model(config.model.name, kwargs)
        self._origin = (
            load_encoder(model, config.model.name, config.model.weights) if config.model.weights else "random"
        )
        self._model = model.to(self._device).to(memory_format=torch.channels_last)
        self._average = AveragedModel(self._model, config.schedule.ema)
        self._optimiser = make_optimiser(self._model, config.schedule)
        self._step, self._best, self._waited, self._seconds = 0, -1.0, 0, 0.0
        self._losses: list[float] = []
        self._try_one_batch()

    def run(self, *, resume: bool = True) -> Path:
        """Train to the last step, from ``last.pt`` where there is one, and return the path of ``best.pt``."""
        state = self._folder.open(resume=resume, config=self._config.model_dump_json(), data=self._data)
        if state is not None:
            self._load(state)
        started = time.monotonic() - self._seconds
        for phase in self._phases:
            if self._step < phase.end:
                self._run_phase(phase, started)
        return self._folder.best

    def _run_phase(self, phase: Phase, started: float) -> None:
        schedule, patience = self._config.schedule, self._config.schedule.patience
        if self._step == phase.start:
            # A later phase goes on from the averaged weights, and what it makes of them is what is judged.
            self._best, self._waited = -1.0, 0
            self._model.load_state_dict(self._average.model.state_dict())
        let_learn(self._model, phase.train)
        batches: DataLoader[Batch] = DataLoader(
            self._sampler,  # type: ignore[arg-type]  # it has __len__ and __getitem__
            batch_size=None,
            sampler=range(self._step, phase.end),
            num_workers=1 if phase.end - self._step > 100 else 0,
        )
        for images, *truth in batches:
            self._losses.append(self._learn(phase, images, Target(*(t.to(self._device) for t in truth))))
            self._step += 1
            self._seconds = time.monotonic() - started
            self._progress("training", self._step, self._phases[-1].end)
            done = self._step == phase.end
            if done or self._step % self._validate_every == 0:
                self._validate(phase)
            if patience and self._waited >= patience:
                log.info("step %d: no better for %d validations, this phase ends", self._step, self._waited)
                self._step, done = phase.end, True
            if done or self._step % schedule.save_every == 0:
                self._folder.save(self._state())
            if done:
                return

    def _learn(self, phase: Phase, images: torch.Tensor, truth: Target) -> float:
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate(phase)
        x = self._normalise(images)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed):
            answer = as_answer(self._model(x))
        loss = objective(answer, truth, phase.loss, self._model, gamma=self._config.focal.gamma)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(
                f"the loss is {value} at step {self._step}; lower schedule.learning_rate ({phase.learning_rate})"
                f" and start again, {self._folder.last} still holds the state before"
            )
        self._optimiser.step()
        self._average.update(self._model, self._step - phase.start)
        return value

    def _rate(self, phase: Phase) -> float:
        schedule = self._config.schedule
        return phase.rate(self._step, warmup=schedule.warmup, cosine=schedule.decay == "cosine")

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = self._statistics()
        x = (images.to(self._device).permute(0, 3, 1, 2).float() - mean) / std
        return x.contiguous(memory_format=torch.channels_last)

    def _statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        mean, std = (torch.tensor(v, device=self._device).view(1, -1, 1, 1) for v in (self._mean, self._std))
        return mean, std

    def _validate(self, phase: Phase) -> None:
        scorer = Scorer(self._average.model, *self._statistics(), whole_wh=self.whole_wh)
        done = iter(range(1, len(self.validation) + 1))

        def score(image: Any) -> Any:
            self._progress("validating", next(done), len(self.validation))
            return scorer(image)

        found = judge(self.validation, score, len(self._classes))
        recent = self._losses[-self._validate_every :]
        row: Row = {
            "step": self._step,
            "seconds": self._seconds,
            "learning_rate": self._rate(phase),
            "loss": sum(recent) / len(recent),
            "iou": found.iou,
            "iou_mean": found.iou_mean,
            "threshold": found.curves[0].best_level / 255,
            "image_ap": found.image_ap,
        }
        self._folder.write(row)
        shown = ", ".join(f"{k} {row[k]:.4f}" for k in ("loss", "iou", "iou_mean", "image_ap") if row[k] is not None)
        log.info("step %d: %s", self._step, shown)
        self._waited += 1
        quality = found.quality(decides=phase.loss.decision > 0)
        if quality > self._best:
            self._best, self._waited = quality, 0
            self._checkpoint(found).save(self._folder.best)

    @property
    def whole_wh(self) -> tuple[int, int] | None:
        """Width and height that whole images are resized to; None where the model sees crops."""
        return self._config.crops.size_wh if self._config.crops.whole else None

    def _checkpoint(self, found: Judgement) -> Checkpoint:
        thresholds = tuple(c.best_level / 255 for c in found.curves)
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
            min_area_px=tuple(1 for _ in thresholds),
            frame_wh=self.whole_wh if getattr(self._model, "whole_frame", False) else None,
            decision_threshold=None if found.decision_level is None else found.decision_level / 255,
            info={
                "dataset": self._config.data.dataset,
                **({} if self._config.data.part_scale is None else {"scale": self._config.data.part_scale}),
                "train_images": self._counts[0],
                "val_images": self._counts[1],
                "first_weights": self._origin,
                "supervision": self._config.supervision.level,
                "seed": self._config.seed,
                "step": self._step,
                "minutes": round(self._seconds / 60, 1),
                "device": self._device.type,
                "mixed_precision": self._mixed,
                "torch": str(torch.__version__),  # a str subclass that weights_only would refuse
                "val_iou": found.iou,
                "val_iou_mean": found.iou_mean,
                "val_image_ap": found.image_ap,
                "config": self._config.model_dump_json(),
            },
        )

    def _state(self) -> dict[str, Any]:
        return {
            "config": self._config.model_dump_json(),
            "data": self._data,
            "step": self._step,
            "best": self._best,
            "waited": self._waited,
            "seconds": self._seconds,
            "losses": self._losses[-self._validate_every :],
            "model": self._model.state_dict(),
            "average": self._average.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._average.model.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._step, self._best, self._waited = state["step"], state["best"], state["waited"]
        self._seconds, self._losses = state["seconds"], list(state["losses"])

    def _try_one_batch(self) -> None:
        """Find out before the long run whether model, crops, phases and losses fit together."""
        width, height = self._config.crops.size_wh
        channels, classes = self._config.model.channels, len(self._classes)
        try:
            with torch.no_grad():
                output = self._average.model(torch.zeros(1, channels, height, width, device=self._device))
        except RuntimeError as error:
            line = str(error).splitlines()[0]
            raise InputError(
                f"the model refuses crops of {width} x {height} px ({line}); use a multiple of its stride"
            ) from error
        answer = as_answer(output)
        self._check_decision(answer.decision is not None)
        got = tuple(answer.logits.shape)
        # A model of whole images may answer in a lower resolution; crops are scored pixel by pixel.
        factor = height // max(1, got[2]) if self._config.crops.whole and len(got) == 4 else 1
        if height % factor or width % factor:
            raise InputError(
                f"crops of {width} x {height} px do not fit the model, whose answer is {factor} times smaller; "
                f"use multiples of {factor} px"
            )
        if got != (1, classes, height // factor, width // factor):
            raise InputError(
                f"the model answers {got} for a crop of {width} x {height} px; (1, {classes}, {height}, {width}) is needed"
            )
        for phase in self._phases:
            let_learn(self._model, phase.train)

    def _check_decision(self, decides: bool) -> None:
        config = self._config
        if decides and not config.crops.whole:
            raise InputError(
                f"model {config.model.name} judges whole images, which crops are not; set crops.whole = true"
            )
        if config.supervision.level == "weak" and not decides:
            raise TrainingError(
                f"supervision.level weak gives no masks, and model {config.model.name} learns from masks alone; "
                "use full or mixed, or a model that judges whole images (segdec)"
            )
