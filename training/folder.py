"""The folder of a training run: ``best.pt`` (checkpoint), ``last.pt`` (resume point) and ``log.csv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import torch

from jetspect.errors import TrainingError
from jetspect.models.weights import load_file

COLUMNS = ("step", "seconds", "learning_rate", "loss", "iou", "iou_mean", "threshold", "image_ap")
Row = dict[str, float | None]


class RunFolder:
    """Reads and writes what a run leaves behind. A kill leaves the old file or the new one, never half of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best, self.last, self.log = path / "best.pt", path / "last.pt", path / "log.csv"

    def open(self, *, resume: bool, config: str, data: str) -> dict[str, Any] | None:
        """Make the folder and return the resume point, or None for a run that begins.

        Raises
        ------
        TrainingError
            The resume point belongs to a run with other settings or images.
        InputError
            It is damaged.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not (resume and self.last.is_file()):
            for old in (self.last, self.log):
                old.unlink(missing_ok=True)
            return None
        state = load_file(self.last)
        if state.get("config") != config:
            raise TrainingError(
                f"{self.last} belongs to a run with other settings; use another --out, or --restart to replace it"
            )
        if state.get("data") != data:
            raise TrainingError(
                f"{self.last} belongs to a run on other images or classes; use another --out, or --restart to replace it"
            )
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Replace the resume point."""
        draft = self.last.with_name(f".{self.last.name}.tmp")
        torch.save(state, draft)
        draft.replace(self.last)

    def write(self, row: Row) -> None:
        """Add a line to the log; None leaves its column empty."""
        new = not self.log.exists()
        with self.log.open("a", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow({k: "" if v is None else round(v, 6) for k, v in row.items()})
