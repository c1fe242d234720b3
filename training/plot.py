"""Draw a training log."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure


def plot_log(log: Path, out: Path) -> None:
    """Draw loss and validation IoU of a ``log.csv`` into a PNG."""
    with log.open(newline="") as stream:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(stream)]
    steps = [row["step"] for row in rows]
    with matplotlib.rc_context({"axes.spines.top": False, "font.size": 9}):
        figure = Figure(figsize=(7, 3.2), layout="constrained")
        left = figure.subplots()
        left.plot(steps, [row["loss"] for row in rows], color="#888888", label="training loss")
        left.set_xlabel("step")
        left.set_ylabel("loss")
        right = left.twinx()
        right.plot(steps, [row["iou"] for row in rows], color="#0072b2", marker=".", label="validation IoU, pooled")
        right.plot(steps, [row["iou_mean"] for row in rows], color="#d55e00", marker=".", label="validation IoU, mean")
        if all("image_ap" in row for row in rows):
            right.plot(steps, [row["image_ap"] for row in rows], color="#009e73", marker=".", label="image AP")
        right.set_ylim(0, 1)
        right.set_ylabel("validation")
        figure.legend(loc="outside upper center", ncols=4, frameon=False)
        figure.savefig(out, dpi=140)
