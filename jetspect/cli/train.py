"""``jetspect train``: train a model from a training file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jetspect.cli.output import JsonOption, console, print_json, progress
from jetspect.errors import MissingDependencyError, TrainingError
from jetspect.runtime.settings import load_settings


def train(
    config: Annotated[Path, typer.Argument(help="Training file (TOML).", show_default=False)],
    data: Annotated[Path | None, typer.Option(help="Folder of the data set; goes before the file's.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, log and plot.")] = Path("runs/train"),
    restart: Annotated[bool, typer.Option("--restart", help="Begin again instead of resuming.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a model; a run that was interrupted goes on where it was. Leaves best.pt, log.csv and curve.png.

    Example: jetspect train training/configs/bsd-pitting.toml --data bsdata --out runs/bsd-pitting
    """
    try:
        from jetspect.training.config import TrainConfig
        from jetspect.training.loop import Trainer
        from jetspect.training.plot import plot_log
        from jetspect.training.refine import refine
    except ImportError as error:
        raise MissingDependencyError(error.name or "torch", "training", "pip install 'jetspect[train]'") from error

    settings = load_settings(config, TrainConfig)
    with progress() as bar:
        tasks = {what: bar.add_task(what, visible=False) for what in ("reading images", "training", "validating")}

        def tell(what: str, done: int, total: int) -> None:
            bar.update(tasks[what], completed=done, total=total, visible=done < total)

        try:
            trainer = Trainer(settings, out, data=data, progress=tell)
            best = trainer.run(resume=not restart)
            checkpoint = refine(
                best,
                trainer.validation,
                goal=settings.limits.goal,
                min_recall=settings.limits.min_recall,
                whole_wh=trainer.whole_wh,
            )
        except OSError as error:
            raise TrainingError(
                f"{error.filename or out} cannot be read or written: {error.strerror or error}"
            ) from error
        plot_log(out / "log.csv", out / "curve.png")
    if as_json:
        print_json({"checkpoint": str(best), "log": str(out / "log.csv"), "info": checkpoint.info})
    else:
        info = checkpoint.info
        console.print(
            f"{best}: validation iou {info['val_iou']:.3f}, iou_mean {info['val_iou_mean']:.3f} "
            f"on {info['val_images']} images; log and curve in {out}",
            markup=False,
        )
